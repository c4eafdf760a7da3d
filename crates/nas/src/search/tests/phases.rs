//! Phases that change network, batch and learning rate, and that end early: by a strategy made for it.

use serde_json::{Value, json};

use super::*;
use crate::{
    run::{At, EarlyEnd, Executor, Flow, Kept, Reopened, Schedule, Task},
    search::task::SearchTask,
    space::Genotype,
    supernet::{Mask, PerOp},
};

/// Equal weights for what is alive. Takes `made` steps of omega in every step.
#[derive(Debug)]
struct Phased {
    made: usize,
    /// What the first epoch of the second phase ends with.
    flow: Flow,
}

impl OneShot for Phased {
    fn schedule(&self) -> Schedule {
        Schedule::new([("small", 2), ("large", 3), ("last", 2)])
    }

    fn phase(&self, phase: usize) -> PhaseSettings {
        match phase {
            1 => PhaseSettings {
                added_images: 64,
                learning_rate: Some(PhaseRate::Own(Cosine { max: 0.1, min: 0.0, epochs: 3 })),
                added_cells: Some(1),
            },
            2 => PhaseSettings { learning_rate: Some(PhaseRate::Anew), ..PhaseSettings::default() },
            _ => PhaseSettings::default(),
        }
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let mixing = self.weights(cx.mask()).map(|&w| w as f32).into();
        (0..self.made).try_for_each(|_| cx.omega_step(&mixing))
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        if at.phase == 0 && at.ends_phase() {
            cx.remove(&[(0, 0), (2, 1)]);
        }
        Ok(if (at.phase, at.within) == (1, 0) { self.flow.clone() } else { Flow::Go })
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        let last = |edge| (edge, cx.mask().ops() - 1);
        genotype(cx.space(), &(0..cx.mask().edges()).map(last).collect::<Vec<_>>())
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        mask.map(|&alive| if alive { 0.2 } else { 0.0 })
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        None
    }

    fn state(&self) -> Value {
        json!({})
    }

    fn restore(&mut self, _state: &Value) -> Result<(), String> {
        Ok(())
    }
}

fn phased(set: &[&str]) -> Plan {
    let mut plan = plan("darts", &[&["training.max_steps_per_epoch=all"], set].concat());
    plan.schedule = Phased { made: 1, flow: Flow::Go }.schedule();
    plan
}

fn task(plan: &Plan, strategy: Phased) -> SearchTask {
    SearchTask::with(plan.clone(), Box::new(strategy), fake()).unwrap()
}

fn run_phased(plan: &Plan, flow: Flow, folder: &Path) -> Vec<Event> {
    let setup = launch::setup(plan, Observers::none(), go()).unwrap();
    Executor::start(task(plan, Phased { made: 1, flow }), setup, folder).unwrap().run().unwrap();
    let text = fs::read_to_string(folder.join(EVENTS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_phase_may_change_network_batch_and_learning_rate() {
    let folder = tempfile::tempdir().unwrap();
    let plan = phased(&[]);
    let events = run_phased(&plan, Flow::Go, &folder.path().join("run"));
    let ends: Vec<EpochEnd> = events.iter().filter_map(Event::read).collect();
    assert_eq!(ends.len(), 7);
    let rates: Vec<f64> = ends.iter().map(|e| e.learning_rate).collect();
    let own = Cosine { max: 0.1, min: 0.0, epochs: 3 };
    let expected = [0, 1].map(|e| plan.learning_rate.at(e)).into_iter().chain([0, 1, 2].map(|e| own.at(e)));
    assert_eq!(rates[..5], expected.collect::<Vec<_>>());
    let anew = Cosine { epochs: 2, ..plan.learning_rate };
    assert_eq!(rates[5..], [0, 1].map(|e| anew.at(e)));
    // 718 images of digits: 11 batches of 64, 5 of 128.
    let End { epochs, steps } = events.last().unwrap().read().unwrap();
    assert_eq!((epochs, steps), (7, 2 * 11 + 3 * 5 + 2 * 11));
    // What was removed before the network was built anew stays removed.
    assert!(ends[6].weights[(0, 0)] == 0.0 && ends[6].weights[(2, 1)] == 0.0 && ends[6].weights[(0, 1)] == 0.2);
    assert_eq!(ends[6].alpha, None);
}

#[test]
fn stopped_anywhere_phases_that_change_resume_bit_identically() {
    let folder = tempfile::tempdir().unwrap();
    let plan = phased(&["training.batch_size=128"]);
    let early = || Phased { made: 1, flow: Flow::NextPhase("enough".to_owned()) };
    let whole = folder.path().join("whole");
    run_phased(&plan, early().flow, &whole);
    let expected = record(&whole);
    for at in (1..50).step_by(3) {
        let run = folder.path().join(format!("stopped-{at}"));
        let stop = go();
        let flag = Arc::clone(&stop);
        let observer = Box::new(AtNotice { left: at, action: Box::new(move || flag.store(true, Ordering::Relaxed)) });
        let setup = launch::setup(&plan, observer.into(), stop).unwrap();
        match Executor::start(task(&plan, early()), setup, &run).unwrap().run() {
            Err(SearchError::Run(RunError::Interrupted)) => {
                let setup = launch::setup(&plan, Observers::none(), go()).unwrap();
                let reopened = Reopened::open(&run).unwrap();
                Executor::resume(task(&plan, early()), setup, reopened).unwrap().run().unwrap();
            }
            other => assert!(other.is_ok(), "{other:?}"),
        }
        assert!(record(&run) == expected, "stopped at notice {at} differs");
    }
}

#[test]
fn phases_and_runs_end_early_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let plan = phased(&["training.max_steps_per_epoch=1"]);
    let why = "enough".to_owned();
    for (flow, name, phases, finished) in [
        (Flow::NextPhase(why.clone()), "next", &["small", "small", "large", "last", "last"][..], false),
        (Flow::Finish(why.clone()), "finish", &["small", "small", "large"], true),
    ] {
        let events = run_phased(&plan, flow, &folder.path().join(name));
        let ends: Vec<EpochEnd> = events.iter().filter_map(Event::read).collect();
        assert_eq!(ends.iter().map(|e| e.phase.as_str()).collect::<Vec<_>>(), phases);
        let early: Vec<EarlyEnd> = events.iter().filter_map(Event::read).collect();
        assert_eq!(early, [EarlyEnd { epoch: 3, phase: "large".to_owned(), finished, reason: why.clone() }]);
        assert_eq!(events.last().unwrap().read(), Some(End { epochs: phases.len(), steps: phases.len() }));
    }
}

#[test]
fn what_a_phase_adds_too_much_is_told_with_its_name() {
    for (strategy, set, expected) in [
        ("sgas", "added_images=1000", "phase `decision 2`: batch 1064 does not fit: there are 718 samples"),
        (
            "p-darts",
            "added_cells=[0, 400, 500]",
            "phase `stage 2`: a `nas-bench-201` network of 401 cells, expected 0 to 100",
        ),
    ] {
        let set = vec![format!("strategy.{strategy}.{set}")];
        let request = Request { strategy: Some(strategy.to_owned()), threads: Some(1), set, ..Default::default() };
        let error = Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().unwrap().starts_with("what the strategy adds in this phase comes on top of"));
    }
}

#[test]
fn channels_that_cannot_be_parted_are_refused_with_both_settings() {
    for (space, channels, part) in [
        ("nas-bench-201", 6, "has 6 channels, expected a multiple of 4"),
        ("darts", 10, "has 10 channels, expected a multiple of 4"),
        ("darts", 2, "has 2 channels, expected a multiple of 4"),
    ] {
        let set = vec![format!("supernet.channels={channels}"), "strategy.pc-darts.partial=4".to_owned()];
        let request = Request {
            strategy: Some("pc-darts".to_owned()),
            space: Some(space.to_owned()),
            threads: Some(1),
            set,
            ..Default::default()
        };
        let error = Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap_err();
        let start = format!("strategy.pc-darts.partial = 4 does not fit supernet.channels = {channels}: ");
        assert!(error.to_string().starts_with(&start) && error.to_string().contains(part), "{error}");
        assert!(error.hint().unwrap().contains("16 for one"), "{:?}", error.hint());
    }
    let set = ["supernet.channels=8", "strategy.dr-nas.kept=3", "strategy.dr-nas.partial=[4, 3]"].map(str::to_owned);
    let request =
        Request { strategy: Some("dr-nas".to_owned()), threads: Some(1), set: set.to_vec(), ..Default::default() };
    let error = Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("strategy.dr-nas.partial = 3 does not fit supernet.channels = 8: "), "{error}");
}

#[test]
fn a_step_is_exactly_one_step_of_omega() {
    let folder = tempfile::tempdir().unwrap();
    let plan = phased(&[]);
    for made in [0, 2] {
        let run = folder.path().join(made.to_string());
        let setup = launch::setup(&plan, Observers::none(), go()).unwrap();
        let error =
            Executor::start(task(&plan, Phased { made, flow: Flow::Go }), setup, &run).unwrap().run().unwrap_err();
        let expected =
            format!("step 1 of epoch 1 (counted from 1) made {made} steps of the weights, expected exactly 1");
        assert_eq!(error.to_string(), expected);
        assert!(fs::read_to_string(run.join(EVENTS)).unwrap().contains("\"event\":\"failed\""));
    }
}

#[test]
fn a_policy_keeps_the_best_epoch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = phased(&["run.keep_epochs=best"]);
    let run = folder.path().join("run");
    let events = run_phased(&plan, Flow::Go, &run);
    let losses: Vec<f64> = events.iter().filter_map(|e| Some(e.read::<EpochEnd>()?.supernet_train_loss.0)).collect();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap() + 1;
    let kept: Vec<_> = fs::read_dir(run.join("epochs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(kept, [best.to_string().as_str()]);
    let mut again = task(&plan, Phased { made: 1, flow: Flow::Go });
    assert_eq!(Kept::open(&run, Some(best)).unwrap().restore(&mut again).unwrap().epoch, best);
    assert!(again.tensors().iter().all(|t| t.data.iter().all(|v| v.is_finite())));
}

#[test]
fn a_resume_on_another_instruction_set_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan("darts", &[]);
    let run = folder.path().join("run");
    drop(Search::start(plan.clone(), fake(), &run, Observers::none(), go()).unwrap());
    let path = run.join(run::ENVIRONMENT);
    let mut environment: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(environment["instruction_set"], crate::engines::cpu(1).unwrap().info().instruction_set);
    assert!(environment["engine"].is_string() && environment["kernels"].is_string());
    environment["instruction_set"] = "abacus".into();
    fs::write(&path, environment.to_string()).unwrap();
    let warnings = Arc::default();
    ready(resume(&run, Box::new(Warnings(Arc::clone(&warnings))), go()).unwrap()).run().unwrap();
    assert!(warnings.lock().unwrap()[0].contains("instruction set abacus, now"), "{warnings:?}");
    assert!(fs::read_to_string(run.join(TIMING)).unwrap().contains("\"environment\":{"));
}
