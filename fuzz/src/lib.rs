//! What targets share: a run that the program made, of which a target replaces one file.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock, atomic::AtomicBool},
};

use nas::{
    export, retrain,
    run::Observers,
    search,
    space::{self, Genotype},
};
use tempfile::TempDir;

const LITTLE: [&str; 2] = ["training.max_steps_per_epoch=1", "training.batch_size=8"];

/// Run folders and an exported network, made once a process.
pub struct Templates {
    folder: TempDir,
}

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    search_into(&folder.path().join("search"));
    train_into(&folder.path().join("training"));
    fs::create_dir(folder.path().join("model")).expect("a folder");
    let trained = retrain::Trained::open(&folder.path().join("training"), None, &nas::Here::default(), &mut |_| {}).expect("a network");
    let format = export::FORMATS.iter().find(|f| f.name == "safetensors").expect("a format");
    let export::Writer::Network { write, .. } = format.writer else { unreachable!() };
    for (file, bytes) in ["net.safetensors", "net.json"].iter().zip(write(&trained, &Default::default()).expect("an export")) {
        fs::write(folder.path().join("model").join(file), bytes).expect("a file");
    }
    Templates { folder }
});

fn set(keys: &[&str]) -> Vec<String> {
    LITTLE.iter().chain(keys).map(|s| (*s).to_owned()).collect()
}

fn search_into(folder: &Path) {
    let set = set(&["strategy.darts.epochs=2", "supernet.channels=1", "supernet.cells_per_stage=1"]);
    let request = search::Request { strategy: Some("darts".to_owned()), threads: Some(1), set, ..Default::default() };
    let plan = search::Plan::new(request.resolve().expect("settings"), None, &mut |_| {}).expect("a plan");
    let make = plan.engines();
    search::Search::start(plan, make, folder, Observers::none(), Arc::default()).expect("a start").run().expect("an end");
}

fn train_into(folder: &Path) {
    let genotype: Genotype = space::read("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|", None).expect("a cell");
    let mut request = retrain::Request::new(genotype);
    (request.epochs, request.threads) = (Some(2), Some(1));
    request.set = set(&["network.channels=1", "network.cells=1"]);
    let plan = retrain::Plan::new(request.resolve().expect("settings"), None, &mut |_| {}).expect("a plan");
    let make = plan.engines();
    let stop = Arc::new(AtomicBool::new(false));
    retrain::Retrain::start(plan, &make, folder, Observers::none(), stop).expect("a start").run().expect("an end");
}

/// A copy of the template `name` ("search", "training" or "model") in which `file` holds `bytes`.
pub fn with(name: &str, file: &str, bytes: &[u8]) -> TempDir {
    let to = tempfile::tempdir_in("/dev/shm").expect("a folder");
    copy(&TEMPLATES.folder.path().join(name), to.path());
    fs::write(to.path().join(file), bytes).expect("a file");
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|e| e.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { fs::copy(from, to).map(drop).expect("a file") }
    }
}
