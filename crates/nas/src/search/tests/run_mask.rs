//! A relaxation that runs one operation of each edge, through the whole search.

use engine::Gradients;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde_json::Value;

use super::*;
use crate::{
    run::{At, Executor, Schedule},
    search::{
        fake_engine::LoggedStep,
        parts::{AdamConfig, Alpha, AlphaUpdate, Relax},
        task::SearchTask,
    },
    space::Genotype,
    supernet::{Mask, MixingGradient, OpAt, PerOp},
};

/// Runs a random operation of each edge with weight 1; its noise is 1 for that one, else 0.
#[derive(Debug)]
struct OneOp;

impl Relax for OneOp {
    fn draw(&self, (edges, ops): (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        let mut drawn = PerOp::filled(edges, ops, 0.0);
        (0..edges).for_each(|edge| drawn[(edge, rng.next_u64() as usize % ops)] = 1.0);
        Some(drawn)
    }

    fn weights(&self, alpha: &PerOp<f64>, _mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        noise.unwrap_or(alpha).clone()
    }

    fn run(&self, _alpha: &PerOp<f64>, _mask: &Mask, noise: Option<&PerOp<f64>>) -> Option<Mask> {
        Some(noise?.map(|&drawn| drawn == 1.0))
    }

    fn pull_back(&self, _: &PerOp<f64>, _: &Mask, _: Option<&PerOp<f64>>, gradient: &MixingGradient) -> Vec<f64> {
        // What an operation that is not run would add.
        assert!(gradient.edges.len() == 6 && gradient.edges.iter().all(|&g| g != 0.0), "{gradient:?}");
        gradient.w.clone()
    }

    fn weights_without(&self, alpha: &PerOp<f64>, _mask: &Mask, _out: &[OpAt]) -> PerOp<f64> {
        alpha.clone()
    }

    fn remove(&self, _alpha: &mut PerOp<f64>, _mask: &Mask, _ops: &[OpAt]) {}
}

#[derive(Debug)]
struct Sampling {
    alpha: Alpha,
    update: AlphaUpdate,
}

impl OneShot for Sampling {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", 2)])
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        self.update.step(&mut self.alpha, cx)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        genotype(cx.space(), &(0..cx.mask().edges()).map(|edge| (edge, 1)).collect::<Vec<_>>())
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        None
    }

    fn state(&self) -> Value {
        self.alpha.state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)
    }
}

/// The engine's training steps in a short search.
fn steps(update: AlphaUpdate) -> Vec<LoggedStep> {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan("darts", &[]);
    plan.schedule = Schedule::new([("search", 2)]);
    let log = Arc::new(Mutex::new(vec![]));
    let shared = Arc::clone(&log);
    let make: MakeEngine = Box::new(move |network, _| {
        let mut engine = FakeEngine::new(network);
        engine.log = Some(Arc::clone(&shared));
        Ok(Box::new(engine))
    });
    let values = PerOp::filled(6, 5, 0.2);
    let alpha = Alpha::new(values, OneOp, AdamConfig::default());
    let task = SearchTask::with(plan.clone(), Box::new(Sampling { alpha, update }), make).unwrap();
    let setup = launch::setup(&plan, Observers::none(), go()).unwrap();
    Executor::start(task, setup, &folder.path().join("run")).unwrap().run().unwrap();
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn what_is_out_of_the_run_mask_is_not_run_and_gets_no_gradient() {
    for (update, kinds) in [
        (AlphaUpdate::Bilevel, &[Gradients::Mixing, Gradients::Omega][..]),
        (AlphaUpdate::Joint, &[Gradients::Both]),
        (AlphaUpdate::None, &[Gradients::Omega]),
    ] {
        let steps = steps(update);
        // Two epochs of three steps.
        assert_eq!(steps.len(), 6 * kinds.len());
        let mut masks = vec![];
        for (step, kind) in steps.iter().zip(kinds.iter().cycle()) {
            assert_eq!(step.gradients, *kind);
            let run = step.run.as_ref().expect("a run mask");
            assert!(run.chunks(5).all(|ops| ops.iter().filter(|&&runs| runs).count() == 1), "{run:?}");
            let not_run = |i: &usize| !run[*i];
            assert!((0..30).filter(not_run).all(|i| step.mixing_grad[i] == 0.0));
            if *kind != Gradients::Mixing {
                assert!((0..30).filter(not_run).all(|i| step.omega_grad[i] == 0.0));
                assert!(step.omega_grad.iter().any(|&g| g != 0.0));
                masks.push(run);
            }
        }
        // Alpha and omega see the same draw, other steps another one.
        assert!(steps.chunks(kinds.len()).all(|of_step| of_step.iter().all(|s| s.run == of_step[0].run)));
        assert!(masks.windows(2).all(|two| two[0] != two[1]));
    }
}
