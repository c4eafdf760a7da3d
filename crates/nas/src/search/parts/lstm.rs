//! Long short-term memory (Hochreiter, Schmidhuber, 1997) in f64, as PyTorch computes it.

/// Layers one above the other, all of one size, inputs included.
///
/// The parameters of a layer are, in this order, `W_ih: [4H, H]`, `W_hh: [4H, H]`, `b_ih: [4H]`, `b_hh: [4H]`, row-major; the rows
/// of the gates come in the order input, forget, cell, output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lstm {
    pub(super) size: usize,
    pub(super) layers: usize,
}

/// Output and cell of each layer, `[H]` each; or the gradient of them.
#[derive(Clone, Debug)]
pub(super) struct LstmState(Vec<(Vec<f64>, Vec<f64>)>);

/// What the way back needs of one step, layer by layer.
#[derive(Clone, Debug)]
pub(super) struct LstmTape(Vec<Layer>);

#[derive(Clone, Debug)]
struct Layer {
    input: Vec<f64>,
    output_before: Vec<f64>,
    cell_before: Vec<f64>,
    /// `[4H]`, after their nonlinearities.
    gates: Vec<f64>,
    cell: Vec<f64>,
}

impl LstmState {
    /// Output of the last layer.
    pub(super) fn output(&self) -> &[f64] {
        self.0.last().map_or(&[], |(output, _)| output)
    }

    /// The same.
    pub(super) fn output_mut(&mut self) -> Option<&mut Vec<f64>> {
        self.0.last_mut().map(|(output, _)| output)
    }
}

impl Lstm {
    /// Number of parameters.
    pub(super) fn len(self) -> usize {
        self.layers * self.layer_len()
    }

    fn layer_len(self) -> usize {
        8 * self.size * (self.size + 1)
    }

    /// Places of the biases among the parameters.
    pub(super) fn is_bias(self, place: usize) -> bool {
        place % self.layer_len() >= 8 * self.size * self.size
    }

    /// Before the first step.
    pub(super) fn zero(self) -> LstmState {
        LstmState(vec![(vec![0.0; self.size], vec![0.0; self.size]); self.layers])
    }

    /// One step on an input `[H]`.
    pub(super) fn step(self, parameters: &[f64], input: &[f64], state: &mut LstmState) -> LstmTape {
        let h = self.size;
        let mut input = input.to_vec();
        let layers = parameters.chunks_exact(self.layer_len()).zip(&mut state.0).map(|(p, (output, cell))| {
            let (w, b) = p.split_at(8 * h * h);
            let (w_ih, w_hh) = w.split_at(4 * h * h);
            let sum = |row: usize| {
                let product =
                    |w: &[f64], x: &[f64]| -> f64 { w[row * h..(row + 1) * h].iter().zip(x).map(|(w, x)| w * x).sum() };
                product(w_ih, &input) + b[row] + product(w_hh, output) + b[4 * h + row]
            };
            let gates: Vec<f64> =
                (0..4 * h).map(|row| if row / h == 2 { sum(row).tanh() } else { sigmoid(sum(row)) }).collect();
            let (output_before, cell_before) = (output.clone(), cell.clone());
            for k in 0..h {
                cell[k] = gates[h + k] * cell_before[k] + gates[k] * gates[2 * h + k];
                output[k] = gates[3 * h + k] * cell[k].tanh();
            }
            let input = std::mem::replace(&mut input, output.clone());
            Layer { input, output_before, cell_before, gates, cell: cell.clone() }
        });
        LstmTape(layers.collect())
    }

    /// One step back: `of_state` is the gradient of the state after the step and becomes that of the state before it. Adds to
    /// the gradient of the parameters and returns that of the input.
    pub(super) fn back(
        self,
        parameters: &[f64],
        tape: &LstmTape,
        of_state: &mut LstmState,
        gradient: &mut [f64],
    ) -> Vec<f64> {
        let (h, len) = (self.size, self.layer_len());
        let mut of_output = vec![0.0; h];
        for (l, layer) in tape.0.iter().enumerate().rev() {
            let (output, cell) = &mut of_state.0[l];
            output.iter_mut().zip(&of_output).for_each(|(own, above)| *own += above);
            let (p, g) = (&parameters[l * len..(l + 1) * len], &mut gradient[l * len..(l + 1) * len]);
            // Of the sums that the gates are made of.
            let mut sums = vec![0.0; 4 * h];
            for k in 0..h {
                let [i, f, c, o] = [0, 1, 2, 3].map(|gate| layer.gates[gate * h + k]);
                let tanh = layer.cell[k].tanh();
                let of_cell = cell[k] + output[k] * o * (1.0 - tanh * tanh);
                sums[k] = of_cell * c * i * (1.0 - i);
                sums[h + k] = of_cell * layer.cell_before[k] * f * (1.0 - f);
                sums[2 * h + k] = of_cell * i * (1.0 - c * c);
                sums[3 * h + k] = output[k] * tanh * o * (1.0 - o);
                cell[k] = of_cell * f;
            }
            output.fill(0.0);
            of_output.fill(0.0);
            for (row, &sum) in sums.iter().enumerate() {
                let (ih, hh) = (row * h, (4 * h + row) * h);
                for k in 0..h {
                    g[ih + k] += sum * layer.input[k];
                    g[hh + k] += sum * layer.output_before[k];
                    of_output[k] += sum * p[ih + k];
                    output[k] += sum * p[hh + k];
                }
                g[8 * h * h + row] += sum;
                g[8 * h * h + 4 * h + row] += sum;
            }
        }
        of_output
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
