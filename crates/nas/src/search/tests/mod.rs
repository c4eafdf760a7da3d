use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    events::{EpochEnd, RunStart},
    fake_engine::FakeEngine,
    *,
};
use crate::{
    run::{self, CONFIG, EVENTS, End, Event, Fields, Notice, Observer, Observers, RunError, TIMING},
    supernet::MakeEngine,
};

mod hpe_darts;
mod phases;
mod run_mask;

/// Does something at the n-th notice of a step, sweep or checkpoint.
struct AtNotice {
    left: usize,
    action: Box<dyn FnMut() + Send>,
}

impl Observer for AtNotice {
    fn notice(&mut self, notice: Notice<'_>) {
        if matches!(notice, Notice::Step { .. } | Notice::Sweep { .. } | Notice::Saved) {
            self.left = self.left.wrapping_sub(1);
            if self.left == 0 {
                (self.action)();
            }
        }
    }
}

/// Keeps the warnings.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Observer for Warnings {
    fn notice(&mut self, notice: Notice<'_>) {
        if let Notice::Warning(text) = notice {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

fn plan(strategy: &str, set: &[&str]) -> Plan {
    let mut set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let short = STRATEGIES.iter().find(|s| s.name == strategy).unwrap().short;
    // What the test itself sets comes last.
    set.insert(0, "training.max_steps_per_epoch=3".to_owned());
    set.splice(0..0, short.iter().map(|s| format!("strategy.{strategy}.{s}")));
    let request = Request { strategy: Some(strategy.to_owned()), threads: Some(1), set, ..Default::default() };
    Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap()
}

fn fake() -> MakeEngine {
    Box::new(|network, _| Ok(Box::new(FakeEngine::new(network))))
}

fn go() -> Arc<AtomicBool> {
    Arc::default()
}

fn run_whole(plan: &Plan, folder: &Path) -> Outcome {
    Search::start(plan.clone(), fake(), folder, Observers::none(), go()).unwrap().run().unwrap()
}

fn resume(folder: &Path, observer: impl Into<Observers>, stop: Arc<AtomicBool>) -> Result<Resumed, SearchError> {
    Search::resume(folder, &crate::Here::default(), &mut |_| {}, |_| fake(), observer, stop)
}

fn ready(resumed: Resumed) -> Search {
    match resumed {
        Resumed::Ready(search) => *search,
        Resumed::Finished(outcome) => panic!("finished: {outcome:?}"),
    }
}

/// Everything that must not depend on interruptions.
fn record(folder: &Path) -> (String, Vec<u8>, String) {
    (
        fs::read_to_string(folder.join(EVENTS)).unwrap(),
        fs::read(folder.join("checkpoint/weights.safetensors")).unwrap(),
        fs::read_to_string(folder.join(GENOTYPE)).unwrap(),
    )
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

/// The steps, sweeps and checkpoints of a whole search.
fn notices(plan: &Plan, folder: &Path) -> usize {
    let count = Arc::new(Mutex::new(0));
    struct Count(Arc<Mutex<usize>>);
    impl Observer for Count {
        fn notice(&mut self, notice: Notice<'_>) {
            if matches!(notice, Notice::Step { .. } | Notice::Sweep { .. } | Notice::Saved) {
                *self.0.lock().unwrap() += 1;
            }
        }
    }
    let observer = Box::new(Count(Arc::clone(&count)));
    Search::start(plan.clone(), fake(), folder, observer, go()).unwrap().run().unwrap();
    *count.lock().unwrap()
}

#[test]
fn stopped_anywhere_and_resumed_a_search_is_bit_identical() {
    let sums = ["strategy.hpe-darts.hard_importance=\"loss+naswot\""];
    let curvature = ["rule=eigenvalue", "first_epoch=2", "window=1", "distance=1", "ratio=1.0001"]
        .map(|set| format!("strategy.darts.early_stop.{set}"));
    let curvature: Vec<&str> = curvature.iter().map(String::as_str).collect();
    let against = ["strategy.sdarts.perturbation=adversarial"];
    let kept = ["strategy.dr-nas.kept=3", "strategy.dr-nas.frozen_epochs=1", "strategy.dr-nas.regulariser=kl"];
    let more = [
        ("hpe-darts", &sums[..], 7),
        ("darts", &curvature[..], 11),
        ("sdarts", &against[..], 3),
        ("dr-nas", &kept[..], 3),
    ]
    .into_iter()
    .map(|(name, set, stride)| (STRATEGIES.iter().find(|s| s.name == name).expect("a strategy"), set, stride));
    // Cells of which some edges go in the end.
    let darts = STRATEGIES.iter().map(|s| (s, &["space=darts"][..], 601));
    for (strategy, set, stride) in STRATEGIES.iter().map(|s| (s, &[][..], 7)).chain(more).chain(darts) {
        let plan = plan(strategy.name, set);
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let all = notices(&plan, &whole);
        let expected = record(&whole);
        // Every moment would take long; the strides share no factor with what repeats.
        for at in (1..all).step_by(stride) {
            let run = folder.path().join(format!("stopped-{at}"));
            let stop = go();
            let flag = Arc::clone(&stop);
            let observer = AtNotice { left: at, action: Box::new(move || flag.store(true, Ordering::Relaxed)) };
            let started = Search::start(plan.clone(), fake(), &run, Box::new(observer), stop).unwrap();
            match started.run() {
                Err(SearchError::Run(RunError::Interrupted)) => {}
                other => panic!("{}: stopped at {at}: {other:?}", strategy.name),
            }
            ready(resume(&run, Observers::none(), go()).unwrap()).run().unwrap();
            assert!(record(&run) == expected, "{} stopped at notice {at} of {all} differs", strategy.name);
        }
    }
}

#[test]
fn stopped_again_and_again_a_search_still_ends_the_same() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    run_whole(&plan, &folder.path().join("whole"));
    let run = folder.path().join("run");
    drop(Search::start(plan.clone(), fake(), &run, Observers::none(), go()).unwrap());
    for round in 0.. {
        let stop = go();
        let flag = Arc::clone(&stop);
        let observer = AtNotice { left: 5 + round % 13, action: Box::new(move || flag.store(true, Ordering::Relaxed)) };
        match ready(resume(&run, Box::new(observer), stop).unwrap()).run() {
            Err(SearchError::Run(RunError::Interrupted)) => {}
            Ok(_) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(record(&run) == record(&folder.path().join("whole")));
}

#[test]
fn killed_anywhere_a_search_goes_on_from_its_last_checkpoint() {
    // What kill -9 leaves behind is what stands in the folder at that moment.
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let all = notices(&plan, &whole);
    for at in (1..all).step_by(11) {
        let (run, killed) = (folder.path().join(format!("run-{at}")), folder.path().join(format!("killed-{at}")));
        let (from, to) = (run.clone(), killed.clone());
        let observer = AtNotice { left: at, action: Box::new(move || copy(&from, &to)) };
        // The first checkpoint is written by `start`, which the observer is already told of.
        Search::start(plan.clone(), fake(), &run, Box::new(observer), go()).unwrap().run().unwrap();
        fs::create_dir(killed.join(".checkpoint-half")).unwrap();
        ready(resume(&killed, Observers::none(), go()).unwrap()).run().unwrap();
        assert!(record(&killed) == record(&whole), "killed at notice {at} of {all} differs");
    }
}

#[test]
fn checkpoints_inside_epochs_and_sweeps_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let name = STRATEGIES[0].name;
    run_whole(&plan(name, &[]), &folder.path().join("whole"));
    // Practically a checkpoint at every step and evaluation; a kill then resumes inside of them.
    let often = plan(name, &["run.checkpoint_minutes=1e-9"]);
    let (run, killed) = (folder.path().join("run"), folder.path().join("killed"));
    let (from, to) = (run.clone(), killed.clone());
    let observer = AtNotice { left: 151, action: Box::new(move || copy(&from, &to)) };
    Search::start(often.clone(), fake(), &run, Box::new(observer), go()).unwrap().run().unwrap();
    assert!(record(&run) == record(&folder.path().join("whole")));
    ready(resume(&killed, Observers::none(), go()).unwrap()).run().unwrap();
    assert!(record(&killed) == record(&folder.path().join("whole")));
    // No time is too long.
    let never = plan(name, &["run.checkpoint_minutes=1e300"]);
    let run = folder.path().join("never");
    run_whole(&never, &run);
    assert!(record(&run) == record(&folder.path().join("whole")));
}

#[test]
fn a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    run_whole(&plan, &whole);
    let stop = go();
    let flag = Arc::clone(&stop);
    let observer = AtNotice { left: 100, action: Box::new(move || flag.store(true, Ordering::Relaxed)) };
    let started = Search::start(plan.clone(), fake(), &run, Box::new(observer), stop).unwrap();
    assert!(matches!(started.run(), Err(SearchError::Run(RunError::Interrupted))));
    let weights = run.join("checkpoint/weights.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let warnings = Arc::default();
    ready(resume(&run, Box::new(Warnings(Arc::clone(&warnings))), go()).unwrap()).run().unwrap();
    assert!(warnings.lock().unwrap()[0].contains("weights.safetensors"), "{warnings:?}");
    assert!(record(&run) == record(&whole));
    assert!(fs::read_to_string(run.join(TIMING)).unwrap().contains("\"fallback\":\""));
    fs::remove_file(run.join("genotype.json")).unwrap();
    for folder in ["checkpoint", "checkpoint.previous"] {
        fs::write(run.join(folder).join("state.json"), "{").unwrap();
    }
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    assert!(error.to_string().starts_with("no usable checkpoint in"), "{error}");
    assert!(error.hint().unwrap().contains("config.toml"));
}

#[test]
fn a_record_that_is_cut_short_is_named_and_left_alone() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    run_whole(&plan, &run);
    fs::remove_file(run.join(GENOTYPE)).unwrap();
    let whole = fs::read(run.join(EVENTS)).unwrap();
    fs::write(run.join(EVENTS), &whole[..100]).unwrap();
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("events.jsonl in ") && message.contains("truncated: it has 100 bytes"), "{message}");
    assert!(error.hint().unwrap().starts_with("restore the whole events.jsonl, or start again"));
    assert_eq!(fs::read(run.join(EVENTS)).unwrap(), whole[..100]);
    fs::write(run.join(EVENTS), &whole).unwrap();
    ready(resume(&run, Observers::none(), go()).unwrap()).run().unwrap();
    assert!(fs::read(run.join(EVENTS)).unwrap() == whole);
}

#[test]
fn killed_before_the_first_checkpoint_a_search_begins_anew() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    run_whole(&plan, &whole);
    fs::create_dir(&run).unwrap();
    fs::write(run.join(CONFIG), plan.config.to_toml()).unwrap();
    fs::write(run.join(".starting"), "").unwrap();
    fs::write(run.join(EVENTS), "{\"event\":\"run_st").unwrap();
    ready(resume(&run, Observers::none(), go()).unwrap()).run().unwrap();
    assert!(record(&run) == record(&whole));
    assert!(run::is_run(&run));
}

#[test]
fn without_its_checkpoints_a_record_is_left_alone_and_a_result_is_still_one() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let outcome = run_whole(&plan, &run);
    for name in ["checkpoint", "checkpoint.previous"] {
        fs::remove_dir_all(run.join(name)).unwrap();
    }
    let events = fs::read(run.join(EVENTS)).unwrap();
    assert_eq!(finished(&run).unwrap(), Some(outcome.clone()));
    // Neither does it need settings that this version knows.
    let config = fs::read_to_string(run.join(CONFIG)).unwrap();
    fs::write(run.join(CONFIG), format!("{config}\n[gone]\nracing = true\n")).unwrap();
    assert_eq!(finished(&run).unwrap(), Some(outcome));
    assert!(matches!(resume(&run, Observers::none(), go()), Ok(Resumed::Finished(_))));
    fs::remove_file(run.join(GENOTYPE)).unwrap();
    assert_eq!(finished(&run).unwrap(), None);
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    assert!(error.to_string().contains("no usable checkpoint in") && error.to_string().ends_with(": there is none"));
    assert!(fs::read(run.join(EVENTS)).unwrap() == events);
}

#[test]
fn nothing_is_read_that_another_process_may_still_change() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let working = Search::start(plan.clone(), fake(), &run, Observers::none(), go()).unwrap();
    // Between the two renames of a checkpoint there is a moment without a newest one.
    fs::rename(run.join("checkpoint"), run.join("checkpoint.previous")).unwrap();
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    assert!(error.to_string().contains("another process is working on this run"), "{error}");
    fs::rename(run.join("checkpoint.previous"), run.join("checkpoint")).unwrap();
    working.run().unwrap();
}

#[test]
fn killed_between_saving_and_keeping_a_search_keeps_the_epoch_when_it_goes_on() {
    let plan = plan(STRATEGIES[0].name, &["run.keep_epochs=true"]);
    let folder = tempfile::tempdir().unwrap();
    let (run, killed) = (folder.path().join("run"), folder.path().join("killed"));
    run_whole(&plan, &run);
    copy(&run, &killed);
    fs::remove_file(killed.join(GENOTYPE)).unwrap();
    let last = plan.schedule.epochs().to_string();
    fs::remove_dir_all(killed.join("epochs").join(&last)).unwrap();
    ready(resume(&killed, Observers::none(), go()).unwrap());
    let weights = |run: &Path| fs::read(run.join("epochs").join(&last).join("weights.safetensors")).unwrap();
    assert!(weights(&run) == weights(&killed));
}

#[test]
fn a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let failing: MakeEngine = Box::new(|network, _| {
        let mut engine = FakeEngine::new(network);
        engine.nan_after = Some(4);
        Ok(Box::new(engine))
    });
    let started = Search::start(plan, failing, &run, Observers::none(), go()).unwrap();
    let error = started.run().unwrap_err();
    assert_eq!(error.to_string(), "the training loss is NaN in epoch 2, step 2 (counted from 1)");
    assert!(error.hint().unwrap().contains("last good checkpoint"));
    let events = fs::read_to_string(run.join(EVENTS)).unwrap();
    assert!(events.ends_with("NaN in epoch 2, step 2 (counted from 1)\"}\n"), "{events}");
    // With a sound engine it goes on from the end of epoch 1, and the failure is gone from the record.
    ready(resume(&run, Observers::none(), go()).unwrap()).run().unwrap();
    assert!(!fs::read_to_string(run.join(EVENTS)).unwrap().contains("failed"));
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one_intact() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    run_whole(&plan, &whole);
    let blocked = run.join("checkpoint.previous");
    let path = blocked.clone();
    // A file where the folder of the previous checkpoint belongs stops the exchange.
    let block = move || {
        let _ = fs::remove_dir_all(&path);
        fs::write(&path, "in the way").unwrap();
    };
    let observer = AtNotice { left: 8, action: Box::new(block) };
    let started = Search::start(plan.clone(), fake(), &run, Box::new(observer), go()).unwrap();
    let error = started.run().unwrap_err();
    assert!(matches!(&error, SearchError::Run(RunError::Write { .. })), "{error}");
    assert!(error.hint().unwrap().contains("last checkpoint is intact"));
    fs::remove_file(&blocked).unwrap();
    ready(resume(&run, Observers::none(), go()).unwrap()).run().unwrap();
    assert!(record(&run) == record(&whole));
}

#[test]
fn a_finished_run_says_so_and_a_newer_one_is_refused() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let outcome = run_whole(&plan, &run);
    match resume(&run, Observers::none(), go()).unwrap() {
        Resumed::Finished(again) => {
            assert_eq!(again.found.arch, outcome.found.arch);
            assert_eq!(again.found.index, outcome.found.index);
        }
        Resumed::Ready(_) => panic!("a finished run goes on"),
    }
    fs::remove_file(run.join(GENOTYPE)).unwrap();
    let state = run.join("checkpoint/state.json");
    let text = fs::read_to_string(&state).unwrap().replacen("\"version\": 2", "\"version\": 7", 1);
    fs::write(&state, text).unwrap();
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    assert!(error.to_string().contains("checkpoint version 7; this program reads up to 2"), "{error}");
}

#[test]
fn a_configuration_that_was_changed_is_noticed() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    drop(Search::start(plan.clone(), fake(), &run, Observers::none(), go()).unwrap());
    let text = plan.config.to_toml().replace("strategy.hpe-darts", "strategy.hpe-dart");
    fs::write(run.join(CONFIG), text).unwrap();
    let error = resume(&run, Observers::none(), go()).unwrap_err();
    assert!(error.to_string().contains("unknown variant `hpe-dart`"), "{error}");
    assert_eq!(error.hint().unwrap(), "did you mean `hpe-darts`?");
}

#[test]
fn other_settings_than_those_of_the_checkpoint_are_refused() {
    let plan = plan(STRATEGIES[0].name, &[]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let stop = Arc::new(AtomicBool::new(true));
    let stopped = Search::start(plan.clone(), fake(), &run, Observers::none(), stop).unwrap().run();
    assert!(matches!(stopped, Err(SearchError::Run(RunError::Interrupted))), "{stopped:?}");
    let with = |change: fn(&mut Config)| {
        let mut config = plan.config.clone();
        change(&mut config);
        fs::write(run.join(CONFIG), config.to_toml()).unwrap();
        resume(&run, Observers::none(), go())
    };
    let error = with(|config| config.training.momentum = 0.5).unwrap_err();
    assert!(error.to_string().ends_with("training.momentum is 0.5, it was made with 0.9"), "{error}");
    let error = with(|config| config.seed += 1).unwrap_err();
    assert!(error.to_string().ends_with("seed is 1, it was made with 0"), "{error}");
    // Neither threads nor the care of the folder decide anything.
    ready(
        with(|config| {
            config.threads = Some(2);
            config.run.checkpoint_minutes = 9.0;
        })
        .unwrap(),
    );
}

#[test]
fn on_the_real_engine_every_strategy_resumes_bit_identically() {
    let all = STRATEGIES.iter().map(|strategy| (strategy, &[][..]));
    let widened = ["strategy.dr-nas.kept=3", "strategy.dr-nas.partial=[4, 2]"];
    let widened = STRATEGIES.iter().filter(|s| s.name == "dr-nas").map(|strategy| (strategy, &widened[..]));
    for (strategy, more) in all.chain(widened) {
        let plan = plan(strategy.name, &[&["supernet.channels=4", "training.batch_size=16"], more].concat());
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let start = |folder: &Path, observer: Observers, stop| {
            Search::start(plan.clone(), plan.engines(), folder, observer, stop).unwrap()
        };
        start(&whole, Observers::none(), go()).run().unwrap();
        // Inside epochs with and without alpha, inside sweeps, between epochs.
        for at in [1, 3, 5, 12, 20] {
            let run = folder.path().join(format!("stopped-{at}"));
            let stop = go();
            let flag = Arc::clone(&stop);
            let observer = AtNotice { left: at, action: Box::new(move || flag.store(true, Ordering::Relaxed)) };
            match start(&run, Box::new(observer).into(), stop).run() {
                Err(SearchError::Run(RunError::Interrupted)) => {}
                // A short search has ended by then.
                Ok(_) if at > 5 => continue,
                other => panic!("{} stopped at notice {at}: {other:?}", strategy.name),
            }
            let resumed =
                Search::resume(&run, &crate::Here::default(), &mut |_| {}, Plan::engines, Observers::none(), go());
            ready(resumed.unwrap()).run().unwrap();
            assert!(record(&run) == record(&whole), "{} stopped at notice {at} differs", strategy.name);
        }
    }
}

#[test]
fn equal_seeds_give_equal_searches_and_others_do_not() {
    for strategy in STRATEGIES {
        let folder = tempfile::tempdir().unwrap();
        let events = |name: &str, seed: &str| {
            let run = folder.path().join(name);
            run_whole(&plan(strategy.name, &[seed]), &run);
            fs::read_to_string(run.join(EVENTS)).unwrap()
        };
        let first = events("a", "seed=1");
        assert_eq!(first, events("b", "seed=1"), "{}", strategy.name);
        assert_ne!(first, events("c", "seed=2"), "{}", strategy.name);
    }
}

#[test]
fn every_strategy_keeps_to_its_schedule_and_derives_a_genotype_of_the_space() {
    for strategy in STRATEGIES {
        let plan = plan(strategy.name, &[]);
        let folder = tempfile::tempdir().unwrap();
        let outcome = run_whole(&plan, &folder.path().join("run"));
        outcome.found.genotype.check(plan.candidates.space()).unwrap();
        assert_eq!(plan.candidates.space().parse(&outcome.found.arch).unwrap(), outcome.found.genotype);
        let timed: Vec<&str> = outcome.seconds.iter().map(|(name, _)| name.as_str()).collect();
        let phases: Vec<&str> = plan.schedule.phases.iter().map(|p| p.name.as_str()).collect();
        assert!(timed.iter().all(|name| phases.contains(name)) && outcome.total_seconds() > 0.0);
        let timing = fs::read_to_string(folder.path().join("run").join(TIMING)).unwrap();
        let last: serde_json::Value = serde_json::from_str(timing.lines().last().unwrap()).unwrap();
        let booked: f64 = last["seconds"]
            .as_object()
            .unwrap()
            .values()
            .map(|s| s.as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum::<f64>())
            .sum();
        assert!((booked - outcome.total_seconds()).abs() < 1e-9, "{timing}");
        let text = fs::read_to_string(folder.path().join("run").join(EVENTS)).unwrap();
        let events: Vec<Event> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let epochs: Vec<EpochEnd> = events.iter().filter_map(Event::read).collect();
        assert_eq!(epochs.len(), plan.schedule.epochs());
        for (i, end) in epochs.iter().enumerate() {
            assert_eq!((end.epoch, &end.phase), (i + 1, &plan.schedule.at(i).unwrap().name));
        }
        let kinds = [events.first(), events.last()].map(|e| e.unwrap().kind.as_str());
        assert_eq!(kinds, [RunStart::KIND, End::KIND]);
    }
}

/// On the first edge all, so that settings for the whole space fit.
#[test]
fn every_strategy_keeps_to_the_operations_that_each_edge_has() {
    let few = "['skip_connect', 'nor_conv_3x3']";
    let all = "['none', 'skip_connect', 'nor_conv_1x1', 'nor_conv_3x3', 'avg_pool_3x3']";
    let set = format!("space.ops=[{all}, {few}, {few}, {few}, {few}, ['nor_conv_1x1']]");
    for strategy in STRATEGIES {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let plan = plan(strategy.name, &[&set]);
        assert_eq!(plan.network.alive.iter().filter(|&&alive| alive).count(), 5 + 4 * 2 + 1);
        let found = run_whole(&plan, &run).found.genotype;
        let text = fs::read_to_string(run.join(EVENTS)).unwrap();
        let start: RunStart = Event::read(&serde_json::from_str(text.lines().next().unwrap()).unwrap()).unwrap();
        let offered = start.offered.unwrap();
        assert_eq!(offered[1], ["skip_connect", "nor_conv_3x3"]);
        for (edge, offered) in found.cells[0].edges.iter().zip(&offered) {
            assert!(offered.iter().any(|op| op == edge.op.as_str()), "{}: {edge:?}", strategy.name);
        }
    }
}
