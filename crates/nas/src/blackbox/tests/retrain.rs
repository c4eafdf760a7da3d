use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::super::*;
use crate::{
    retrain::Request,
    run::{EVENTS, Notice, Observer},
    space::{Darts, NasBench201, SearchSpace},
};

/// A third and all of three epochs of a few steps.
fn request(space: &'static dyn SearchSpace, set: &[&str]) -> Request {
    let small = ["network.channels=4", "network.cells=1", "training.batch_size=200", "training.max_steps_per_epoch=2"];
    Request {
        epochs: Some(3),
        seed: Some(1),
        threads: Some(1),
        set: small.iter().chain(set).map(|&s| s.to_owned()).collect(),
        ..RetrainEvaluator::request(&Domain::new(space)).unwrap()
    }
}

/// Sets a flag at a notice.
struct StopAt(Arc<AtomicUsize>, Arc<AtomicBool>);

impl Observer for StopAt {
    fn notice(&mut self, notice: Notice<'_>) {
        let counts = matches!(notice, Notice::Step { .. } | Notice::Sweep { .. } | Notice::Saved);
        if counts && self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// A search of two architectures for one epoch and the better one for three, stopped at a notice of its trainings.
fn search(out: &Path, stop_at: usize) -> Result<String, BlackboxError> {
    let (left, stop) = (Arc::new(AtomicUsize::new(stop_at)), Arc::new(AtomicBool::new(false)));
    let observer = || -> Box<dyn Observer> { Box::new(StopAt(Arc::clone(&left), Arc::clone(&stop))) };
    let follow = Follow { observer: &observer, stop: Arc::clone(&stop) };
    let config = RetrainEvaluator::configure(&request(&NasBench201, &[]))?;
    let evaluator = RetrainEvaluator::new(config, None, &mut |_| {}, out, follow)?;
    assert_eq!(evaluator.epochs(), [1, 3]);
    let set = ["training=rungs", "rungs=2", "eta=2"].map(str::to_owned);
    let method = methods::find("bohb").unwrap().configure(&set).unwrap();
    let problem = Problem { domain: Arc::new(Domain::new(&NasBench201)), levels: evaluator.levels() };
    let budget = 5.0;
    let settings =
        Settings { space: "nas-bench-201", seed: 1, runs: 1, budget, method: &method, evaluator: evaluator.settings() };
    let record = Record::open(out, &settings)?;
    let evaluator = Recorded { domain: &problem.domain, evaluator: &evaluator, record: &record };
    let outcomes = run_all(&method, &problem, &evaluator, budget, (1, 1), 1, &|| {})?;
    assert_eq!((outcomes[0].spent, outcomes[0].trials.len()), (5.0, 3));
    Ok(serde_json::to_string(&(&outcomes, &outcomes[0].trials)).unwrap())
}

/// Settings, evaluations, and record, weights and result of every training.
fn left(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = vec!["blackbox.toml".to_owned(), "evaluations.jsonl".to_owned()];
    for run in fs::read_dir(out.join("trainings")).unwrap() {
        let run = run.unwrap().file_name().into_string().unwrap();
        files.extend([EVENTS, "checkpoint/weights.safetensors", "result.json"].map(|f| format!("trainings/{run}/{f}")));
    }
    files.into_iter().map(|file| (file.clone(), fs::read(out.join(&file)).unwrap())).collect()
}

#[test]
fn stopped_anywhere_a_search_by_training_ends_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let result = search(&whole, 0).unwrap();
    let expected = left(&whole);
    let mut stopped = 0;
    // An epoch has six notices (steps, batches of validation, a checkpoint): every fifth is of each kind in turn.
    for at in (1..).step_by(5) {
        let out = folder.path().join(at.to_string());
        match search(&out, at) {
            Err(BlackboxError::Interrupted) => stopped += 1,
            ended => {
                assert_eq!(ended.unwrap(), result);
                break;
            }
        }
        assert_eq!(search(&out, 0).unwrap(), result, "stopped at {at}");
        assert!(left(&out) == expected, "stopped at {at}");
    }
    assert!(stopped >= 5, "{stopped}: of five epochs");
    // Killed between the end of a training and the line that says so, or with the trainings gone.
    let path = whole.join("evaluations.jsonl");
    let lines: Vec<usize> =
        expected["evaluations.jsonl"].iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    for (cut, gone) in lines.into_iter().map(|end| (end, true)).chain([(0, false), (9, false)]) {
        fs::write(&path, &expected["evaluations.jsonl"][..cut]).unwrap();
        if gone {
            fs::remove_dir_all(whole.join("trainings")).unwrap();
        }
        assert_eq!(search(&whole, 0).unwrap(), result);
        assert_eq!(fs::read(&path).unwrap(), expected["evaluations.jsonl"], "cut at {cut}");
    }
}

fn evaluator(request: &Request, out: &Path) -> Result<RetrainEvaluator<'static>, BlackboxError> {
    let follow = Follow { observer: &|| Box::new(Nobody), stop: Arc::default() };
    RetrainEvaluator::new(RetrainEvaluator::configure(request)?, None, &mut |_| {}, out, follow)
}

struct Nobody;

impl Observer for Nobody {
    fn notice(&mut self, _notice: Notice<'_>) {}
}

#[test]
fn the_value_is_the_validation_accuracy_of_the_last_epoch_in_every_space() {
    for (space, set) in [(&NasBench201 as &'static dyn SearchSpace, &[][..]), (&Darts::Original, &["network.cells=3"])]
    {
        let (out, domain) = (tempfile::tempdir().unwrap(), Domain::new(space));
        let evaluator = evaluator(&request(space, set), out.path()).unwrap();
        assert_eq!((evaluator.levels(), evaluator.costs(0)), (Levels { count: 2, usual: 1 }, (1.0, 1.0)));
        let genotype = domain.genotype(&vec![1; domain.variables().len()]).unwrap();
        let Evaluation { value, cost } = evaluator.evaluate(&genotype, 1).unwrap();
        let run = evaluator.run_folder(&genotype, 1).unwrap();
        let outcome = crate::run::finished::<crate::retrain::Retrained>(&run, "result.json").unwrap().unwrap();
        let valid = outcome.found.last_valid.unwrap();
        assert_eq!((value, cost, outcome.found.epochs, valid.images), (valid.accuracy.0, 3.0, 3, 719));
        assert_eq!(outcome.found.genotype, genotype);
        assert_eq!(evaluator.evaluate(&genotype, 1).unwrap(), Evaluation { value, cost }, "it has ended");
    }
}

#[test]
fn a_training_that_leaves_the_numbers_is_worse_than_any_other() {
    let (out, domain) = (tempfile::tempdir().unwrap(), Domain::new(&NasBench201));
    let set = ["training.learning_rate=1e30", "training.clip_norm=none"];
    let evaluator = evaluator(&request(&NasBench201, &set), out.path()).unwrap();
    let genotype = domain.genotype(&vec![2; domain.variables().len()]).unwrap();
    let expected = Evaluation { value: f64::NEG_INFINITY, cost: 3.0 };
    assert_eq!(evaluator.evaluate(&genotype, 1).unwrap(), expected);
    assert_eq!(evaluator.evaluate(&genotype, 1).unwrap(), expected, "also where it was stopped there");
}

#[test]
fn trainings_that_cannot_be_compared_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    let refused = |set: &[&str]| evaluator(&request(&NasBench201, set), &out.path().join("out")).unwrap_err();
    let all = refused(&["data.train=all"]);
    assert_eq!(all.to_string(), "data.train = all: every image trains, and the test images choose no architecture");
    assert!(all.hint().unwrap().contains("half"));
    assert!(refused(&["data.train=folder"]).to_string().contains("needs --dataset folder and a folder val"));
    assert!(refused(&["inherit.run=x"]).to_string().contains("trains from scratch"));
    assert!(refused(&["training.epochs=0"]).to_string().contains("expected at least 1"));
    let recipe = Request { recipe: Some("slow".to_owned()), ..request(&NasBench201, &[]) };
    assert!(evaluator(&recipe, out.path()).unwrap_err().to_string().starts_with("unknown recipe `slow`"));
    assert!(!out.path().join("out").exists());
}
