use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    adam::{Adam, AdamConfig},
    edges::Incoming,
    lstm::{Lstm, LstmState, LstmTape},
};
use crate::{
    random,
    search::{Candidates, column},
    space::OpName,
    supernet::{Mask, OpAt},
};

/// Size of the layers; NAS-Bench-201's code.
const SIZE: usize = 32;

/// Layers; NAS-Bench-201's code.
const LAYERS: usize = 2;

/// Initial weights lie within this; NAS-Bench-201's code.
const INITIAL: f64 = 0.1;

/// How a [`Controller`] decides and learns.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// What logits are divided by.
    pub temperature: f64,
    /// Bound on the logits after that.
    pub tanh_constant: f64,
    /// Share of the old baseline that one reward leaves.
    pub baseline_decay: f64,
    /// Largest gradient norm.
    pub clip_norm: f64,
    /// Optimiser.
    pub adam: AdamConfig,
}

/// Draws cells decision by decision, each seeing those before it through an LSTM, and learns by REINFORCE (ENAS).
///
/// A space that keeps all edges takes one decision on each: its operation. In one that keeps fewer, an edge into a node is chosen
/// first, then its operation, until the node has as many as stay; `none` is then no choice. Operations and edges are tokens
/// of one vocabulary, `V` of them; a decision is a softmax over those that are allowed.
#[derive(Clone, Debug)]
pub struct Controller {
    config: ControllerConfig,
    nodes: Vec<Incoming>,
    never: Option<usize>,
    ops: usize,
    lstm: Lstm,
    /// First input `[H]`, LSTM, embedding `[V, H]`, decision weights `[V, H]` and biases `[V]`.
    parameters: Vec<f64>,
    adam: Adam,
    baseline: Option<f64>,
}

/// A cell that was drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Its operations.
    pub cell: Vec<OpAt>,
    /// Logarithm of the product of the probabilities of the decisions.
    pub log_probability: f64,
    /// Sum of the entropies of the decisions, in nats.
    pub entropy: f64,
    decisions: Vec<Decision>,
}

#[derive(Clone, Debug)]
struct Decision {
    tape: LstmTape,
    /// Of the last layer.
    output: Vec<f64>,
    /// Tokens that were allowed, with probability and hyperbolic tangent of the logit.
    allowed: Vec<(usize, f64, f64)>,
    /// The one that was chosen.
    token: usize,
}

#[derive(Deserialize)]
struct Saved {
    parameters: Vec<f64>,
    adam: Adam,
    baseline: Option<f64>,
}

/// A cell being drawn.
struct Drawing<'a> {
    of: &'a Controller,
    state: LstmState,
    input: Range<usize>,
    drawn: Drawn,
}

impl Controller {
    /// With initial parameters, all decisions nearly even.
    pub fn new(config: ControllerConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        Self::sized(Lstm { size: SIZE, layers: LAYERS }, config, candidates, rng)
    }

    fn sized(lstm: Lstm, config: ControllerConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let space = candidates.space();
        let chosen = Incoming::of(space);
        let most = chosen.iter().map(|node| node.rows.len()).max().unwrap_or(0);
        let (ops, size) = (space.ops().len(), lstm.size);
        let tokens = ops + most;
        let lengths = [size, lstm.len(), 2 * tokens * size, tokens];
        let bound = 1.0 / (size as f64).sqrt();
        let initial = |(part, place): (usize, usize)| {
            let is_bias = part == 3 || (part == 1 && lstm.is_bias(place));
            (2.0 * random::unit(rng) - 1.0) * if is_bias { bound } else { INITIAL }
        };
        let places = lengths.into_iter().enumerate().flat_map(|(part, len)| (0..len).map(move |place| (part, place)));
        let parameters: Vec<f64> = places.map(initial).collect();
        Self {
            nodes: Incoming::all(space),
            never: column(space, OpName::NONE).filter(|_| !chosen.is_empty()),
            ops,
            lstm,
            adam: Adam::new(config.adam.clone(), parameters.len()),
            config,
            parameters,
            baseline: None,
        }
    }

    /// Running mean of the rewards; `None` before the first one.
    pub fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    fn tokens(&self) -> usize {
        (self.parameters.len() - self.lstm.size - self.lstm.len()) / (2 * self.lstm.size + 1)
    }

    fn of_lstm(&self) -> Range<usize> {
        self.lstm.size..self.lstm.size + self.lstm.len()
    }

    /// Where the embedding of a token stands.
    fn of_embedding(&self, token: usize) -> Range<usize> {
        let begin = self.of_lstm().end + token * self.lstm.size;
        begin..begin + self.lstm.size
    }

    /// Where the weights of the decision for a token stand, and its bias.
    fn of_decision(&self, token: usize) -> (Range<usize>, usize) {
        let weights = self.of_embedding(self.tokens() + token);
        (weights, self.of_embedding(2 * self.tokens()).start + token)
    }

    /// A cell at random.
    pub fn draw(&self, mask: &Mask, rng: &mut ChaCha8Rng) -> Drawn {
        self.by(mask, &mut |shares| {
            let mut left = random::unit(rng);
            let reached = |share: &f64| {
                left -= share;
                left < 0.0
            };
            shares.iter().position(reached).unwrap_or(shares.len() - 1)
        })
    }

    /// A cell whose decisions are made by `choose`, which is given the probabilities of what is allowed.
    fn by(&self, mask: &Mask, choose: &mut dyn FnMut(&[f64]) -> usize) -> Drawn {
        let empty = Drawn { cell: vec![], log_probability: 0.0, entropy: 0.0, decisions: vec![] };
        let mut drawing = Drawing { of: self, state: self.lstm.zero(), input: 0..self.lstm.size, drawn: empty };
        let ops = |row: usize| -> Vec<usize> {
            (0..self.ops).filter(|&op| mask[(row, op)] && Some(op) != self.never).collect()
        };
        for node in &self.nodes {
            let mut open: Vec<usize> = (0..node.rows.len()).filter(|&i| !ops(node.rows[i]).is_empty()).collect();
            for _ in 0..node.kept.min(open.len()) {
                let edge = match node.rows.len() > node.kept {
                    true => drawing.decide(open.iter().map(|edge| self.ops + edge).collect(), choose) - self.ops,
                    false => open[0],
                };
                open.retain(|&other| other != edge);
                let row = node.rows[edge];
                let op = drawing.decide(ops(row), choose);
                drawing.drawn.cell.push((row, op));
            }
        }
        drawing.drawn.cell.sort_unstable();
        drawing.drawn
    }

    /// Adds the gradient of `-factor * log_probability` of a cell.
    fn add_gradient(&self, drawn: &Drawn, factor: f64, gradient: &mut [f64]) {
        let ControllerConfig { temperature, tanh_constant, .. } = self.config;
        let (lstm, size) = (self.of_lstm(), self.lstm.size);
        let mut of_state = self.lstm.zero();
        for (i, decision) in drawn.decisions.iter().enumerate().rev() {
            let mut of_output = vec![0.0; size];
            for &(token, share, tanh) in &decision.allowed {
                let chosen = if token == decision.token { 1.0 } else { 0.0 };
                let of_sum = factor * (share - chosen) * tanh_constant * (1.0 - tanh * tanh) / temperature;
                let (weights, bias) = self.of_decision(token);
                gradient[bias] += of_sum;
                for (k, at) in weights.enumerate() {
                    gradient[at] += of_sum * decision.output[k];
                    of_output[k] += of_sum * self.parameters[at];
                }
            }
            if let Some(output) = of_state.output_mut() {
                output.iter_mut().zip(&of_output).for_each(|(sum, g)| *sum += g);
            }
            let parameters = &self.parameters[lstm.clone()];
            let of_input = self.lstm.back(parameters, &decision.tape, &mut of_state, &mut gradient[lstm.clone()]);
            let input = i.checked_sub(1).map_or(0..size, |i| self.of_embedding(drawn.decisions[i].token));
            gradient[input].iter_mut().zip(of_input).for_each(|(sum, g)| *sum += g);
        }
    }

    /// One step along the mean gradient of `-(reward - baseline) log_probability`, where the baseline takes in each reward before
    /// it is compared with it, and the first one as it is.
    pub fn learn(&mut self, rewarded: &[(Drawn, f64)]) {
        let mut gradient = vec![0.0; self.parameters.len()];
        for (drawn, reward) in rewarded {
            let decay = self.config.baseline_decay;
            let baseline = self.baseline.map_or(*reward, |baseline| baseline - (1.0 - decay) * (baseline - reward));
            self.baseline = Some(baseline);
            self.add_gradient(drawn, (reward - baseline) / rewarded.len() as f64, &mut gradient);
        }
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if norm > self.config.clip_norm {
            gradient.iter_mut().for_each(|g| *g *= self.config.clip_norm / norm);
        }
        let all = vec![true; gradient.len()];
        self.adam.step(&mut self.parameters, &gradient, &all);
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!({ "parameters": self.parameters, "adam": self.adam, "baseline": self.baseline })
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one; one of another length, with both.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        let saved = Saved::deserialize(state).map_err(|e| format!("the controller: {e}"))?;
        let (found, expected) = (saved.parameters.len(), self.parameters.len());
        if found != expected {
            return Err(format!("the controller has {found} parameters, expected {expected}"));
        }
        self.adam.restore(saved.adam)?;
        (self.parameters, self.baseline) = (saved.parameters, saved.baseline);
        Ok(())
    }
}

impl Drawing<'_> {
    /// One decision among these tokens.
    fn decide(&mut self, tokens: Vec<usize>, choose: &mut dyn FnMut(&[f64]) -> usize) -> usize {
        let Controller { lstm, parameters, config, .. } = self.of;
        let tape = lstm.step(&parameters[self.of.of_lstm()], &parameters[self.input.clone()], &mut self.state);
        let output = self.state.output().to_vec();
        let tanh = |&token: &usize| {
            let (weights, bias) = self.of.of_decision(token);
            let sum: f64 = parameters[weights].iter().zip(&output).map(|(w, x)| w * x).sum();
            ((sum + parameters[bias]) / config.temperature).tanh()
        };
        let tanhs: Vec<f64> = tokens.iter().map(tanh).collect();
        // Logits are bounded, so their exponentials are as well.
        let exponentials: Vec<f64> = tanhs.iter().map(|tanh| (config.tanh_constant * (tanh - 1.0)).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        let shares: Vec<f64> = exponentials.iter().map(|e| e / sum).collect();
        let chosen = choose(&shares);
        self.drawn.log_probability += shares[chosen].ln();
        self.drawn.entropy -= shares.iter().map(|p| p * p.ln()).sum::<f64>();
        let token = tokens[chosen];
        self.input = self.of.of_embedding(token);
        let allowed = tokens.into_iter().zip(shares).zip(tanhs).map(|((t, p), tanh)| (t, p, tanh)).collect();
        self.drawn.decisions.push(Decision { tape, output, allowed, token });
        token
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        search::genotype,
        space::{Darts, NasBench201, SearchSpace},
    };

    fn config() -> ControllerConfig {
        ControllerConfig {
            temperature: 5.0,
            tanh_constant: 2.5,
            baseline_decay: 0.99,
            clip_norm: 5.0,
            adam: AdamConfig { learning_rate: 0.02, betas: [0.0, 0.999], weight_decay: 0.0, epsilon: 1e-3 },
        }
    }

    /// A small controller with parameters `0.3 sin i`.
    fn small(space: &'static dyn SearchSpace) -> Controller {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut controller =
            Controller::sized(Lstm { size: 4, layers: 2 }, config(), &Candidates::all(space), &mut rng);
        controller.parameters.iter_mut().enumerate().for_each(|(i, p)| *p = 0.3 * (i as f64).sin());
        controller
    }

    /// The cell of these decisions, each given by its place among what is allowed.
    fn replay(controller: &Controller, mask: &Mask, choices: &[usize]) -> Drawn {
        let mut choices = choices.iter();
        controller.by(mask, &mut |shares| choices.next().unwrap() % shares.len())
    }

    #[derive(Deserialize)]
    struct Fixture {
        tokens: Vec<usize>,
        log_probability: f64,
        entropy: f64,
        gradient: Vec<f64>,
    }

    #[test]
    fn probability_entropy_and_gradient_are_those_of_pytorch() {
        let text = include_str!("../../../tests/pytorch/controller.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let controller = small(&NasBench201);
        let drawn = replay(&controller, &Mask::filled(6, 5, true), &fixture.tokens);
        assert!((drawn.log_probability - fixture.log_probability).abs() < 1e-12);
        assert!((drawn.entropy - fixture.entropy).abs() < 1e-12);
        let mut gradient = vec![0.0; controller.parameters.len()];
        controller.add_gradient(&drawn, 0.7, &mut gradient);
        assert_eq!(gradient.len(), fixture.gradient.len());
        for (i, (ours, torch)) in gradient.iter().zip(&fixture.gradient).enumerate() {
            assert!((ours - torch).abs() < 1e-13, "{i}: {ours} {torch}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences_where_edges_are_chosen() {
        let mut controller = small(&Darts::Original);
        let mut mask = Mask::filled(28, 8, true);
        mask.row_mut(3).copy_from_slice(&[true, false, false, true, true, false, false, false]);
        let choices: Vec<usize> = (0..40).map(|i| 3 * i + i / 4).collect();
        let drawn = replay(&controller, &mask, &choices);
        let mut gradient = vec![0.0; controller.parameters.len()];
        controller.add_gradient(&drawn, 1.0, &mut gradient);
        let mut seen = 0;
        for i in (0..gradient.len()).step_by(3) {
            let before = controller.parameters[i];
            let mut side = |step: f64| {
                controller.parameters[i] = before + step;
                replay(&controller, &mask, &choices).log_probability
            };
            let numeric = (side(-1e-5) - side(1e-5)) / 2e-5;
            controller.parameters[i] = before;
            assert!((numeric - gradient[i]).abs() < 1e-8, "{i}: {numeric} {}", gradient[i]);
            seen += usize::from(gradient[i].abs() > 1e-4);
        }
        assert!(seen > 80, "{seen}");
    }

    #[test]
    fn cells_are_of_the_space_and_keep_to_what_is_there() {
        for space in [&NasBench201 as &'static dyn SearchSpace, &Darts::Original] {
            let mut rng = ChaCha8Rng::seed_from_u64(2);
            let controller = Controller::new(config(), &Candidates::all(space), &mut rng);
            let mut mask = Candidates::all(space).offered().clone();
            mask.row_mut(1).fill(false);
            mask[(1, 1)] = true;
            let kept: usize = Incoming::all(space).iter().map(|node| node.kept).sum();
            for _ in 0..200 {
                let drawn = controller.draw(&mask, &mut rng);
                genotype(space, &drawn.cell).unwrap();
                assert_eq!(drawn.cell.len(), kept);
                assert!(drawn.cell.iter().all(|&at| mask[at]) && drawn.cell.contains(&(1, 1)));
                assert!(drawn.log_probability < 0.0 && drawn.entropy > 0.0);
            }
        }
    }

    #[test]
    fn what_is_rewarded_becomes_probable() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let candidates = Candidates::all(&NasBench201);
        let mut controller = Controller::new(config(), &candidates, &mut rng);
        let mask = candidates.offered();
        let share = |cell: &[OpAt]| cell.iter().filter(|at| at.1 == 3).count() as f64 / 6.0;
        let mean = |controller: &Controller, rng: &mut ChaCha8Rng| {
            (0..200).map(|_| share(&controller.draw(mask, rng).cell)).sum::<f64>() / 200.0
        };
        let before = mean(&controller, &mut rng);
        for _ in 0..60 {
            let drawn: Vec<_> = (0..20).map(|_| controller.draw(mask, &mut rng)).collect();
            let rewarded: Vec<_> = drawn.into_iter().map(|drawn| (drawn.clone(), share(&drawn.cell))).collect();
            controller.learn(&rewarded);
        }
        // Even decisions have a fifth of each.
        let after = mean(&controller, &mut rng);
        assert!((before - 0.2).abs() < 0.05 && after > 0.5, "{before} {after}");
        assert!(controller.baseline().is_some_and(|baseline| baseline > 0.3));
    }

    #[test]
    fn a_state_is_taken_over_and_one_of_another_space_is_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let candidates = Candidates::all(&NasBench201);
        let mut taught = Controller::new(config(), &candidates, &mut rng);
        let first = taught.draw(candidates.offered(), &mut rng);
        taught.learn(&[(first.clone(), 0.5), (first, 0.1)]);
        let mut other = Controller::new(config(), &candidates, &mut rng);
        other.restore(&taught.state()).unwrap();
        assert_eq!(other.state(), taught.state());
        let error = other
            .restore(&Controller::new(config(), &Candidates::all(&Darts::Original), &mut rng).state())
            .unwrap_err();
        assert!(error.starts_with("the controller has "), "{error}");
    }
}
