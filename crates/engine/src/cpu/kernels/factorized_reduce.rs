//! FactorizedReduce needs no kernel of its own: its two 1x1 convolutions of stride 2, the second of which reads one
//! pixel further down and right, are [`Taps`] over one image with a row and a column of zeros after its last ones.
//!
//! Where half the outputs fill whole blocks of columns, they are two convolutions into the halves of one output
//! ([`halves`]). Otherwise one over both pixels ([`both`]), with weights `[2 * inputs, outputs]` of which half are zeros.
//! The gradient of the source goes back by rows: every second pixel of a row is one position further.

use super::matmul::{Output, Taps, conv, weight_grad};
use super::panel::{BLOCK, Panels};
use super::pitch::Pitch;
use super::testing::{Image, SIZES, random};
use crate::cpu::simd::Isa;

/// Every second pixel in both directions.
fn halves(height: usize, width: usize, channels: usize, pitch: Pitch) -> Taps {
    let (height, width) = (height.div_ceil(2), width.div_ceil(2));
    let (row, column) = (2 * pitch.row, 2 * pitch.column);
    Taps { height, width, row, column, segments: 1, segment_step: 0, segment_len: channels }
}

/// The same and their neighbours further down and right.
fn both(height: usize, width: usize, channels: usize, pitch: Pitch) -> Taps {
    Taps { segments: 2, segment_step: pitch.row + pitch.column, ..halves(height, width, channels, pitch) }
}

/// `[k, columns]` in the layout of `panels`.
fn pack(panels: &Panels, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = vec![0.0; panels.len()];
    for k in 0..panels.k {
        for column in 0..panels.columns {
            let (start, step) = panels.block(column / BLOCK);
            packed[start + k * step + column % BLOCK] = value(k, column);
        }
    }
    packed
}

/// `(inputs, outputs)`, padded to blocks, and outputs of the first convolution.
const CHANNELS: [(usize, usize, usize); 3] = [(16, 32, 16), (48, 64, 32), (32, 48, 20)];

struct Case {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    /// Outputs of the first convolution.
    first: usize,
    src: Image,
    /// `[inputs, outputs]`
    weights: Vec<f32>,
    dy: Image,
    /// Sums of `terms` products of order 1.
    error: f64,
}

impl Case {
    fn each(mut test: impl FnMut(Case)) {
        for &isa in Isa::available() {
            for (height, width) in SIZES {
                for (inputs, outputs, first) in CHANNELS {
                    test(Case {
                        isa,
                        inputs,
                        outputs,
                        first,
                        src: Image::random(height, width, inputs, 1, 11),
                        weights: random(inputs * outputs, 12),
                        dy: Image::random(height.div_ceil(2), width.div_ceil(2), outputs, 0, 13),
                        error: 64.0 * f64::from(f32::EPSILON),
                    });
                }
            }
        }
    }

    fn what(&self) -> String {
        format!("{}, {}x{}x{} to {}", self.isa, self.src.height, self.src.width, self.inputs, self.outputs)
    }

    /// Whether the halves of the output are whole blocks.
    fn splits(&self) -> bool {
        self.first.is_multiple_of(BLOCK)
    }

    /// Input `k` of output `column` at (y, x).
    fn input(&self, y: usize, x: usize, k: usize, column: usize) -> f64 {
        let shift = usize::from(column >= self.first);
        self.src.get((2 * y + shift) as isize, (2 * x + shift) as isize, k)
    }

    fn weight(&self, k: usize, column: usize) -> f32 {
        self.weights[k * self.outputs + column]
    }

    /// Taps, first tap, first output and number of outputs of each convolution.
    fn parts(&self) -> Vec<(Taps, *const f32, usize, usize)> {
        let (h, w, pitch) = (self.src.height, self.src.width, self.src.pitch);
        if self.splits() {
            let taps = halves(h, w, self.inputs, pitch);
            vec![
                (taps, self.src.at(0, 0), 0, self.first),
                (taps, self.src.at(1, 1), self.first, self.outputs - self.first),
            ]
        } else {
            vec![(both(h, w, self.inputs, pitch), self.src.at(0, 0), 0, self.outputs)]
        }
    }

    /// The weight of tap `k` of a part for its output `column`.
    fn part_weight(&self, k: usize, column: usize) -> f32 {
        let mine = self.splits() || (k >= self.inputs) == (column >= self.first);
        if mine { self.weight(k % self.inputs, column) } else { 0.0 }
    }
}

#[test]
fn forward_reads_every_second_pixel() {
    Case::each(|case| {
        let (height, width) = (case.dy.height, case.dy.width);
        let mut out = vec![0.0_f32; height * width * case.outputs];
        for (taps, src, first, columns) in case.parts() {
            let panels = Panels::new(case.isa, taps.len(), columns);
            let weights = pack(&panels, |k, column| case.part_weight(k, first + column));
            let blocks: Vec<*mut f32> = (0..columns / BLOCK).map(|b| out[first + b * BLOCK..].as_mut_ptr()).collect();
            let output = Output { step: case.outputs, ..Output::to(&blocks) };
            // SAFETY: the margin of the source holds the last taps; the blocks are distinct columns of the output.
            unsafe { conv(case.isa, &taps, src, weights.as_ptr(), &panels, &output) }
        }
        for (i, &got) in out.iter().enumerate() {
            let (position, column) = (i / case.outputs, i % case.outputs);
            let input = |k| case.input(position / width, position % width, k, column);
            let value: f64 = (0..case.inputs).map(|k| input(k) * f64::from(case.weight(k, column))).sum();
            assert!((f64::from(got) - value).abs() <= case.error, "{}: {i}: {got}, not {value}", case.what());
        }
    });
}

#[test]
fn weight_grad_reads_every_second_pixel() {
    Case::each(|case| {
        let (height, width) = (case.dy.height, case.dy.width);
        for (taps, src, first, columns) in case.parts() {
            let panels = Panels::new(case.isa, taps.len(), columns);
            let mut dw = vec![0.0; panels.len()];
            let (pitch, dy) = (case.dy.pitch, case.dy.at(0, 0));
            // SAFETY: as above; the gradient is of its own.
            unsafe {
                let dy = dy.add(first);
                weight_grad(case.isa, &taps, src, dy, pitch.row, pitch.column, &panels, dw.as_mut_ptr(), false);
            }
            for k in 0..taps.len() {
                for column in first..first + columns {
                    // Products of an output with the other half's pixels belong to a weight that stays zero.
                    if !case.splits() && (k >= case.inputs) != (column >= case.first) {
                        continue;
                    }
                    let (start, step) = panels.block((column - first) / BLOCK);
                    let got = dw[start + k * step + column % BLOCK];
                    let mut value = 0.0;
                    for y in 0..height {
                        for x in 0..width {
                            let g = case.dy.get(y as isize, x as isize, column);
                            value += case.input(y, x, k % case.inputs, column) * g;
                        }
                    }
                    let error = case.error * (height * width) as f64;
                    assert!(
                        (f64::from(got) - value).abs() <= error,
                        "{}: {k}, {column}: {got}, not {value}",
                        case.what()
                    );
                }
            }
        }
    });
}

#[test]
fn data_grad_goes_back_by_rows() {
    Case::each(|case| {
        let (height, width) = (case.dy.height, case.dy.width);
        let before = Image::random(case.src.height, case.src.width, case.inputs, 1, 14);
        let mut dr = before.clone();
        let pitch = dr.pitch;
        let panels = Panels::new(case.isa, case.outputs, case.inputs);
        for shift in [0, 1] {
            let mine = |column| (column >= case.first) == (shift == 1);
            let weights = pack(&panels, |column, k| if mine(column) { case.weight(k, column) } else { 0.0 });
            for y in 0..height {
                // The last pixel further down or right may lie beyond the border, in the margin.
                let at = dr.start().wrapping_add((2 * y + shift) * pitch.row + shift * pitch.column);
                let blocks: Vec<*mut f32> = (0..case.inputs / BLOCK).map(|b| at.wrapping_add(b * BLOCK)).collect();
                let taps = Taps::rows(width, case.dy.pitch.column, case.outputs);
                let output = Output { step: 2 * pitch.column, accumulate: true, ..Output::to(&blocks) };
                // SAFETY: rows of dy; pixels of the gradient and its margin.
                unsafe {
                    let dy = case.dy.at(y as isize, 0);
                    conv(case.isa, &taps, dy, weights.as_ptr(), &panels, &output);
                }
            }
        }
        for y in 0..case.src.height {
            for x in 0..case.src.width {
                for k in 0..case.inputs {
                    let mut value = before.get(y as isize, x as isize, k);
                    if y % 2 == x % 2 {
                        for column in (0..case.outputs).filter(|&c| (c >= case.first) == (y % 2 == 1)) {
                            let g = case.dy.get((y / 2) as isize, (x / 2) as isize, column);
                            value += g * f64::from(case.weight(k, column));
                        }
                    }
                    let got = dr.get(y as isize, x as isize, k);
                    assert!((got - value).abs() <= case.error, "{}: {y}, {x}, {k}: {got}, not {value}", case.what());
                }
            }
        }
    });
}
