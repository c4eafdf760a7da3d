use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::super::{Outcome, Plan, RESULT, Request, Resumed, Retrain, RetrainError};
use super::*;
use crate::{
    run::{EVENTS, Observers, RunError},
    search::{Request as SearchRequest, Search},
    space::{self, Genotype, NasBench201, SearchSpace},
};

/// A finished search in a small supernet, and its cell.
fn searched(folder: &Path, space: &str, strategy: &str, set: &[&str]) -> Genotype {
    let usual = ["supernet.channels=4", "supernet.cells_per_stage=1", "training.batch_size=256"];
    let request = SearchRequest {
        space: Some(space.to_owned()),
        strategy: Some(strategy.to_owned()),
        seed: Some(3),
        threads: Some(2),
        set: usual.iter().chain(set).map(|&s| s.to_owned()).collect(),
        ..SearchRequest::default()
    };
    let plan = crate::search::Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap();
    let (make, go) = (plan.engines(), Arc::new(AtomicBool::new(false)));
    Search::start(plan, make, folder, Observers::none(), go).unwrap().run().unwrap().found.genotype
}

const ONE_EPOCH: &str = "strategy.darts.epochs=3";

fn plan(genotype: &Genotype, from: &Path, set: &[&str]) -> Result<Plan, RetrainError> {
    let request = Request {
        epochs: Some(1),
        seed: Some(1),
        threads: Some(2),
        from_supernet: Some(from.to_owned()),
        set: set.iter().map(|&s| s.to_owned()).collect(),
        ..Request::new(genotype.clone())
    };
    Plan::new(request.resolve()?, None, &mut |_| {})
}

fn start(plan: &Plan, folder: &Path, stop: bool) -> Result<Outcome, RetrainError> {
    let stop = Arc::new(AtomicBool::new(stop));
    Retrain::start(plan.clone(), &plan.engines(), folder, Observers::none(), stop)?.run()
}

/// By the numbers that edges have in each of the two networks.
#[test]
fn weights_are_those_of_the_same_edge_and_operation() {
    let folder = tempfile::tempdir().unwrap();
    for (space, cells) in [
        ("nas-bench-201", "supernet.cells_per_stage=1"),
        ("darts", "supernet.cells_per_stage=3"),
        ("darts-all-skip", "supernet.cells_per_stage=3"),
    ] {
        let run = folder.path().join(space);
        let genotype = searched(&run, space, "darts", &[ONE_EPOCH, cells]);
        let mut plan = plan(&genotype, &run, &[]).unwrap();
        assert_eq!(plan.config.network.channels, Some(4));
        let taken = plan.inherit().unwrap().unwrap();
        assert!(plan.config.inherit.as_ref().unwrap().weights_md5.is_some());
        let given = Kept::open(&run, None).unwrap().into_tensors();
        let space = space::find(space).unwrap();
        let mut first = 0;
        let mut compared = 0;
        for (kind, chosen) in space.kinds().iter().zip(&genotype.cells) {
            for (number, edge) in chosen.edges.iter().enumerate() {
                let row = kind.edges.iter().position(|e| (e.from, e.to) == (edge.from, edge.to)).unwrap();
                // Of three cells of DARTS the last two are reductions.
                let blocks = if space.family() != "darts" {
                    0..3
                } else if first == 0 {
                    0..1
                } else {
                    1..3
                };
                for block in blocks {
                    let part = |row: usize| {
                        let (cells, stages) = (format!("cells.{block}."), format!("stages.{block}.cells.0."));
                        let prefix = if space.family() == "darts" { cells } else { stages };
                        format!("{prefix}edges.{row}.")
                    };
                    for tensor in taken.iter().filter(|t| t.name.starts_with(&part(number))) {
                        let theirs = tensor.name.replacen(&part(number), &part(row), 1);
                        let theirs = given.iter().find(|t| t.name == theirs).unwrap();
                        assert_eq!((&tensor.shape, &tensor.data), (&theirs.shape, &theirs.data), "{}", tensor.name);
                        compared += 1;
                    }
                }
            }
            first += kind.edges.len();
        }
        assert!(compared > 0 && first == space.edge_names().len());
        // Stem, classifier and what else has the same name are there as well, every weight but the statistics of operations.
        let weights = |name: &str| name.contains("stem") || name.contains("classifier");
        for theirs in given.iter().filter(|t| weights(&t.name) && !t.name.starts_with("momentum.")) {
            assert!(taken.contains(theirs), "{}", theirs.name);
        }
        let graph = plan.network.graph().unwrap();
        for name in graph.units().flat_map(|(_, unit)| unit.weights.iter().map(|w| &w.name)) {
            assert!(taken.iter().any(|t| t.name == *name), "{name}");
        }
    }
}

#[test]
fn a_stopped_training_needs_the_search_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("search");
    let genotype = searched(&run, "nas-bench-201", "darts", &[ONE_EPOCH]);
    let plan = plan(&genotype, &run, &[]).unwrap();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    start(&plan, &whole, false).unwrap();
    assert!(matches!(start(&plan, &stopped, true), Err(RetrainError::Run(RunError::Interrupted))));
    fs::remove_dir_all(&run).unwrap();
    let go = Arc::new(AtomicBool::new(false));
    let resumed =
        Retrain::resume(&stopped, &crate::Here::default(), &mut |_| {}, Plan::engines, Observers::none(), go).unwrap();
    let Resumed::Ready(training) = resumed else { panic!("it was stopped") };
    training.run().unwrap();
    let files =
        |folder: &Path| [EVENTS, "checkpoint/weights.safetensors", RESULT].map(|f| fs::read(folder.join(f)).unwrap());
    assert!(files(&whole) == files(&stopped));
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let [all, pruned] = ["all", "pruned"].map(|name| folder.path().join(name));
    let genotype = searched(&all, "nas-bench-201", "darts", &[ONE_EPOCH]);
    let error = |genotype: &Genotype, from: &Path, set: &[&str]| {
        let error = plan(genotype, from, set).and_then(|mut plan| plan.inherit()).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    };
    assert_eq!(
        error(&genotype, &all, &["network.channels=8"]),
        "cannot take over weights of /all: stem.conv.weight is [4, 1, 3, 3] there and [8, 1, 3, 3] here: channels (partial ones, as of `pc-darts`, are fewer), classes or \
         the images' colours differ"
    );
    let darts = space::find("darts").unwrap();
    let cell =
        |op: &str| format!("[{}]", (0..4).map(|_| format!("('{op}', 0), ('{op}', 1)")).collect::<Vec<_>>().join(", "));
    let text = format!(
        "Genotype(normal={0}, normal_concat=range(2, 6), reduce={0}, reduce_concat=range(2, 6))",
        cell("sep_conv_3x3")
    );
    assert_eq!(
        error(&darts.parse(&text).unwrap(), &all, &["network.cells=3"]),
        "cannot take over weights of /all: it searched `nas-bench-201`, the architecture is of `darts`"
    );
    let hpe = "strategy.hpe-darts.";
    let short: Vec<String> = ["warmup_epochs=1", "prune_epochs=1"].iter().map(|s| format!("{hpe}{s}")).collect();
    let short: Vec<&str> = short.iter().map(String::as_str).collect();
    searched(&pruned, "nas-bench-201", "hpe-darts", &short);
    let other = NasBench201
        .parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_1x1~2|");
    let gone = error(&other.unwrap(), &pruned, &[]);
    assert!(gone.starts_with("cannot take over weights of /pruned: its supernet no longer has `"), "{gone}");
    assert_eq!(error(&genotype, folder.path(), &[]), " is not a run folder: config.toml is missing");
}
