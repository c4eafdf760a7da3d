use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;
use crate::{
    run::{EVENTS, Notice, Observer, Observers, RunError},
    search::cpu_engines,
    space::{Darts, Genotype, NasBench201, SearchSpace},
};

const CELL: &str = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
const DARTS: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 1), \
     ('skip_connect', 0), ('sep_conv_3x3', 1), ('dil_conv_5x5', 2), ('skip_connect', 0)], normal_concat=range(2, 6), \
     reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), \
     ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))";

fn request(genotype: Genotype, set: &[&str]) -> Request {
    Request {
        epochs: Some(2),
        seed: Some(1),
        threads: Some(1),
        set: set.iter().map(|&s| s.to_owned()).collect(),
        ..Request::new(genotype)
    }
}

fn plan(request: &Request) -> Result<Plan, RetrainError> {
    Plan::new(request.resolve()?, None, &mut |_| {})
}

/// Everything that a training can do, in little: a validation half, drop-path, test images in between.
fn small(set: &[&str]) -> Plan {
    let cell = NasBench201.parse(CELL).unwrap();
    let all = [
        "network.channels=4",
        "network.cells=1",
        "network.drop_path=0.3",
        "training.batch_size=200",
        "training.test_every=1",
        "data.train=half",
        "run.keep_epochs=best",
    ];
    plan(&request(cell, &[&all[..], set].concat())).unwrap()
}

/// Sets a flag at a notice.
struct StopAt(usize, Arc<AtomicBool>);

impl Observer for StopAt {
    fn notice(&mut self, notice: Notice<'_>) {
        if matches!(notice, Notice::Step { .. } | Notice::Sweep { .. } | Notice::Saved) {
            self.0 = self.0.wrapping_sub(1);
            if self.0 == 0 {
                self.1.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn start(plan: &Plan, folder: &Path, stop_at: usize) -> Result<Outcome, RetrainError> {
    let stop = Arc::new(AtomicBool::new(false));
    let observer = Box::new(StopAt(stop_at, Arc::clone(&stop)));
    Retrain::start(plan.clone(), &plan.engines(), folder, observer, stop)?.run()
}

fn resume(folder: &Path) -> Outcome {
    let go = Arc::new(AtomicBool::new(false));
    match Retrain::resume(folder, &crate::Here::default(), &mut |_| {}, Plan::engines, Observers::none(), go).unwrap() {
        Resumed::Ready(training) => training.run().unwrap(),
        Resumed::Finished(outcome) => *outcome,
    }
}

/// Record, weights and result.
fn left(folder: &Path) -> [Vec<u8>; 3] {
    [EVENTS, "checkpoint/weights.safetensors", RESULT].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn stopped_anywhere_and_resumed_a_training_ends_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let plan = small(&[]);
    assert_eq!(plan.steps_per_epoch(), 4, "718 images, the last batch smaller");
    let outcome = start(&plan, &whole, 0).unwrap();
    assert!(outcome.found.best_valid.is_some() && outcome.found.test.images == 360);
    let mut stopped = 0;
    for at in 1.. {
        let run = folder.path().join(at.to_string());
        match start(&plan, &run, at) {
            Err(RetrainError::Run(RunError::Interrupted)) => stopped += 1,
            ended => {
                ended.unwrap();
                break;
            }
        }
        assert_eq!(resume(&run).found, outcome.found, "stopped at {at}");
        assert!(left(&run) == left(&whole), "stopped at {at}");
        assert_eq!(run.join("epochs").read_dir().unwrap().count(), 1);
    }
    // Steps, and batches of validation and test, of two epochs.
    assert!(stopped >= 2 * (4 + 3 + 2), "{stopped}");
}

#[test]
fn seeds_decide_and_threads_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, set: &[&str]| {
        let run = folder.path().join(name);
        start(&small(set), &run, 0).unwrap();
        left(&run)
    };
    let first = run("a", &[]);
    assert!(first == run("b", &["threads=2"]));
    assert!(first[0] != run("c", &["seed=2"])[0]);
    assert!(first[1] != run("d", &["network.drop_path=0.1"])[1]);
}

#[test]
fn a_network_learns_and_the_record_says_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let cell = NasBench201.parse(CELL).unwrap();
    let set = ["network.channels=8", "network.cells=1", "training.epochs=6"];
    let found = start(&plan(&request(cell, &set)).unwrap(), &run, 0).unwrap().found;
    assert!(found.test.accuracy.0 > 60.0 && found.test.loss.0 < 1.5, "{:?}", found.test);
    assert_eq!((found.last_valid, found.best_valid, found.epochs), (None, None, 6));
    assert_eq!(found.index, NasBench201.table_index(&found.genotype));
    let text = fs::read_to_string(run.join(EVENTS)).unwrap();
    let events: Vec<crate::run::Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<events::TrainEpoch> = events.iter().filter_map(crate::run::Event::read).collect();
    assert_eq!(epochs.iter().map(|e| e.test.is_some()).collect::<Vec<_>>(), [false, false, false, false, false, true]);
    assert_eq!(epochs[5].test, Some(found.test));
    assert!(epochs[0].train_loss.0 > epochs[5].train_loss.0);
    assert!(is_retraining(&run) && !is_retraining(folder.path()));
}

/// CIFAR's size, so that the auxiliary head fits; a step is enough.
#[test]
fn the_recipe_of_darts_runs_with_its_auxiliary_head() {
    let genotype = Darts::Original.parse(DARTS).unwrap();
    let mut request = request(genotype, &["network.channels=4", "network.cells=3"]);
    request.recipe = Some("darts".to_owned());
    // The digits' 8 x 8 are 4 x 4 where the head would be.
    let error = plan(&request).unwrap_err().to_string();
    assert!(error.contains("an auxiliary head on an image of 2 x 2, expected 8 x 8 to 10 x 10"), "{error}");
    request.set.push("network.auxiliary=0".to_owned());
    let error = plan(&request).unwrap_err().to_string();
    assert_eq!(error, "cutout 16 is too large for images of 8x8, at most 8");
    request.set.push("data.augmentation.cutout=4".to_owned());
    let plan = plan(&request).unwrap();
    assert_eq!((plan.network.auxiliary, plan.drop_path(0), plan.drop_path(1)), (None, 0.0, 0.1));
    let folder = tempfile::tempdir().unwrap();
    start(&plan, &folder.path().join("run"), 0).unwrap();
}

#[test]
fn what_makes_no_training_is_refused() {
    let cell = || NasBench201.parse(CELL).unwrap();
    let refused = |set: &[&str], part: &str| {
        let error = plan(&request(cell(), set)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&["network.auxiliary=0.4"], "network.auxiliary = 0.4: a `nas-bench-201` network has no auxiliary head");
    refused(&["data.train=benchmark"], "is made for cifar10");
    refused(&["data.train=nowhere.json"], "nowhere.json");
    refused(&["data.augmentation.crop_padding=9"], "crop_padding");
    refused(&["network.cells=2000"], "network.cells = 2000, expected at most 1000");
    refused(&["data.downsample=8"], "expected at least");
    let mut missing = request(cell(), &[]);
    missing.dataset = Some("cifar10".to_owned());
    assert!(plan(&missing).unwrap_err().hint().is_some());
}

#[test]
fn a_split_file_that_has_changed_does_not_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (run, file) = (folder.path().join("run"), folder.path().join("split.json"));
    fs::write(&file, r#"{"train": [0, 1, 2, 3, 4, 5], "valid": [6, 7, 8]}"#).unwrap();
    let train = format!("data.train={}", file.display());
    assert!(start(&small(&[&train]), &run, 1).is_err());
    let go = || {
        Retrain::resume(&run, &crate::Here::default(), &mut |_| {}, Plan::engines, Observers::none(), Arc::default())
    };
    fs::write(&file, r#"{"train": [6, 7, 8], "valid": [0, 1, 2, 3, 4, 5]}"#).unwrap();
    let error = go().unwrap_err().to_string();
    assert!(error.contains("the split of the images has changed"), "{error}");
    assert!(Evaluator::open(&run, None, &crate::Here::default(), &mut |_| {}, &cpu_engines(Some(1))).is_err());
    fs::write(&file, r#"{"valid": [6, 7, 8], "train": [0, 1, 2, 3, 4, 5]}"#).unwrap();
    assert!(matches!(go().unwrap(), Resumed::Ready(_)));
}

#[test]
fn other_settings_do_not_go_on_with_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert!(start(&small(&[]), &run, 3).is_err());
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), config.replace("learning_rate = 0.1", "learning_rate = 0.2")).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let error =
        Retrain::resume(&run, &crate::Here::default(), &mut |_| {}, Plan::engines, Observers::none(), go).unwrap_err();
    assert!(error.to_string().contains("training.learning_rate is 0.2, it was made with 0.1"), "{error}");
}
