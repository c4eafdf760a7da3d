use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use engine::TensorState;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Table;

use super::clock::PhaseSeconds;
use crate::{
    checksum,
    files::{self, sync_folder},
    numbers::Number,
    tensors,
};

/// Version of the checkpoint's format.
pub(super) const CHECKPOINT_VERSION: u32 = 2;

/// Folder of the newest checkpoint.
const CURRENT: &str = "checkpoint";
/// Folder of the one before it.
const PREVIOUS: &str = "checkpoint.previous";
/// How a folder begins that is being written.
const TEMPORARY: &str = ".checkpoint-";
/// Folder of the checkpoints that are kept, one for each epoch.
const KEPT: &str = "epochs";
const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epoch, counted from 0; all epochs where only the end is left.
    pub epoch: usize,
    /// Place in the epoch.
    pub moment: Moment,
}

/// A place in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before the task's `begin`.
    Begin,
    /// Before a step, counted from 0.
    Step(usize),
    /// Before the task's `end`.
    End,
}

/// The part of a sweep that is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SweepState {
    pub(super) done: usize,
    pub(super) sums: Vec<Number>,
}

/// What a run has come to, over all processes that worked on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Epochs that have ended.
    pub(super) epochs: usize,
    /// Steps of the weights.
    pub(super) steps: usize,
    /// The best epoch so far, counted from 1, and its quality.
    pub(super) best: Option<(usize, f64)>,
}

/// Everything but the tensors. Orders of data and random numbers follow from the seed and these positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    pub(super) position: Position,
    pub(super) progress: Progress,
    /// The task's own.
    pub(super) task: Value,
    pub(super) sweeps: Vec<SweepState>,
    /// The settings that made it.
    pub(super) settings: Table,
    /// Length of `events.jsonl` that belongs to this state.
    pub(super) events_bytes: u64,
    pub(super) seconds: BTreeMap<String, PhaseSeconds>,
    /// MD5 of the file of tensors.
    pub(super) weights_md5: String,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) state: State,
    pub(super) tensors: Vec<TensorState>,
    /// Why the newest one could not be used, if this is the one before it.
    pub(super) fallback: Option<String>,
}

/// Why no checkpoint can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("version {0}")]
    Newer(u64),
    #[error("version {0}")]
    Older(u64),
    #[error("{0}")]
    Broken(String),
}

/// Writes a checkpoint beside the newest one, which it then replaces and which is kept as the previous one.
/// At every moment one whole checkpoint stands under one of the two names.
pub(super) fn write(run: &Path, mut state: State, tensors: &[TensorState]) -> io::Result<()> {
    let temporary = temporary(run)?;
    let weights = tensors::encode(tensors, None)?;
    state.weights_md5 = checksum::of_bytes(&weights);
    let json = serde_json::to_vec_pretty(&state)?;
    for (name, bytes) in [(WEIGHTS, &weights), (STATE, &json)] {
        let mut file = File::create(temporary.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    sync_folder(temporary.path())?;
    let (current, previous) = (run.join(CURRENT), run.join(PREVIOUS));
    if current.exists() {
        if previous.exists() {
            fs::remove_dir_all(&previous)?;
        }
        fs::rename(&current, &previous)?;
    }
    fs::rename(temporary.keep(), &current)?;
    sync_folder(run)
}

/// Reads the newest checkpoint that is whole.
pub(super) fn read(run: &Path) -> Result<Checkpoint, ReadError> {
    if [CURRENT, PREVIOUS].iter().all(|name| !run.join(name).exists()) {
        return Err(ReadError::Broken("there is none".to_owned()));
    }
    match read_folder(&run.join(CURRENT)) {
        Err(ReadError::Broken(why)) => match read_folder(&run.join(PREVIOUS)) {
            Ok(checkpoint) => Ok(Checkpoint { fallback: Some(why), ..checkpoint }),
            Err(ReadError::Broken(before)) => Err(ReadError::Broken(format!("{why}; the one before it: {before}"))),
            newer => newer,
        },
        other => other,
    }
}

fn read_folder(folder: &Path) -> Result<Checkpoint, ReadError> {
    let path = folder.join(STATE);
    let broken = |path: &Path, why: &dyn std::fmt::Display| ReadError::Broken(format!("{}: {why}", path.display()));
    let json = fs::read(&path).map_err(|e| broken(&path, &e))?;
    let value: Value = serde_json::from_slice(&json).map_err(|e| broken(&path, &e))?;
    // The version comes first: a newer format may differ in anything else.
    let version = value.get("version").and_then(Value::as_u64).ok_or_else(|| broken(&path, &"no version"))?;
    if version > u64::from(CHECKPOINT_VERSION) {
        return Err(ReadError::Newer(version));
    }
    if version < u64::from(CHECKPOINT_VERSION) {
        return Err(ReadError::Older(version));
    }
    let state: State = serde_json::from_value(value).map_err(|e| broken(&path, &e))?;
    let path = folder.join(WEIGHTS);
    let weights = fs::read(&path).map_err(|e| broken(&path, &e))?;
    let md5 = checksum::of_bytes(&weights);
    if md5 != state.weights_md5 {
        let why = format!("{} bytes with MD5 {md5}, expected {}", weights.len(), state.weights_md5);
        return Err(broken(&path, &why));
    }
    let tensors = tensors::decode(&weights).map_err(|why| broken(&path, &why))?;
    Ok(Checkpoint { state, tensors, fallback: None })
}

/// A folder to be filled and then renamed. A temporary folder is private by default; this one will be an ordinary folder.
fn temporary(run: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(run)
}

/// Keeps the newest checkpoint, that of the end of `epoch` (counted from 1). Its files are never changed, so the copy is
/// a second name for them where the file system can do that.
pub(super) fn keep(run: &Path, epoch: usize) -> io::Result<()> {
    let all = kept(run);
    fs::create_dir_all(&all)?;
    let temporary = temporary(run)?;
    for name in [WEIGHTS, STATE] {
        let (from, to) = (folder(run).join(name), temporary.path().join(name));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
    }
    let target = all.join(epoch.to_string());
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::rename(temporary.keep(), target)?;
    sync_folder(&all)
}

/// Takes a checkpoint away that was kept at the end of `epoch`, counted from 1.
pub(super) fn forget(run: &Path, epoch: usize) -> io::Result<()> {
    match fs::remove_dir_all(kept(run).join(epoch.to_string())) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The epochs whose checkpoints are kept, counted from 1.
pub(super) fn epochs_kept(run: &Path) -> io::Result<Vec<usize>> {
    let names = fs::read_dir(kept(run))?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The folder of the checkpoints that are kept.
pub(super) fn kept(run: &Path) -> PathBuf {
    run.join(KEPT)
}

/// Reads the checkpoint kept at the end of `epoch`, counted from 1; `None` where there is none.
pub(super) fn read_kept(run: &Path, epoch: usize) -> Option<Result<Checkpoint, ReadError>> {
    let path = kept(run).join(epoch.to_string());
    path.is_dir().then(|| read_folder(&path))
}

/// Takes away what a killed process has left half-written.
pub(super) fn sweep_up(run: &Path) -> io::Result<()> {
    files::sweep_up(run, TEMPORARY)
}

/// Puts the previous checkpoint in the place of a newest one that cannot be used, so that the next one that is written
/// does not push the only good one out.
pub(super) fn discard_newest(run: &Path) -> io::Result<()> {
    let current = run.join(CURRENT);
    if current.exists() {
        fs::remove_dir_all(&current)?;
    }
    fs::rename(run.join(PREVIOUS), &current)?;
    sync_folder(run)
}

/// Takes all checkpoints away.
pub(super) fn remove(run: &Path) -> io::Result<()> {
    for name in [CURRENT, PREVIOUS] {
        match fs::remove_dir_all(run.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    sweep_up(run)
}

/// Where the newest checkpoint stands, if there is one that can be read.
pub(super) fn position(run: &Path) -> Option<Position> {
    let state: State = serde_json::from_slice(&fs::read(folder(run).join(STATE)).ok()?).ok()?;
    Some(state.position)
}

/// The folder of the newest checkpoint.
pub(super) fn folder(run: &Path) -> PathBuf {
    run.join(CURRENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epoch: usize) -> State {
        State {
            version: CHECKPOINT_VERSION,
            position: Position { epoch, moment: Moment::Step(7) },
            progress: Progress { epochs: 1, steps: 9, best: Some((1, 0.1 + 0.2)) },
            task: serde_json::json!({ "alpha": [[0.1, 0.2]] }),
            sweeps: vec![SweepState { done: 1, sums: vec![Number(f64::NEG_INFINITY)] }],
            settings: "rate = 0.3\n[data]\nflip = true".parse().unwrap(),
            events_bytes: 10,
            seconds: BTreeMap::new(),
            weights_md5: String::new(),
        }
    }

    fn tensors() -> Vec<TensorState> {
        vec![
            TensorState { name: "a".into(), shape: vec![2, 1], data: vec![1.5, f32::MIN_POSITIVE] },
            TensorState { name: "b".into(), shape: vec![0], data: vec![] },
        ]
    }

    #[test]
    fn is_read_as_it_was_written() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), state(4), &tensors()).unwrap();
        let mut read = read(run.path()).unwrap();
        read.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(read.tensors, tensors());
        assert_eq!(State { weights_md5: String::new(), ..read.state }, state(4));
        assert_eq!(read.fallback, None);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_one_falls_back_to_the_one_before() {
        for (file, keep) in [(STATE, 20), (WEIGHTS, 20), (WEIGHTS, 0)] {
            let run = tempfile::tempdir().unwrap();
            for epoch in 1..=3 {
                write(run.path(), state(epoch), &tensors()).unwrap();
            }
            let path = folder(run.path()).join(file);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..keep]).unwrap();
            let read = read(run.path()).unwrap();
            assert_eq!(read.state.position.epoch, 2);
            assert!(read.fallback.unwrap().contains(file));
            discard_newest(run.path()).unwrap();
            let read = super::read(run.path()).unwrap();
            assert_eq!((read.state.position.epoch, read.fallback), (2, None));
        }
    }

    #[test]
    fn a_kill_between_the_renames_leaves_the_previous_one() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), state(1), &tensors()).unwrap();
        fs::rename(run.path().join(CURRENT), run.path().join(PREVIOUS)).unwrap();
        assert_eq!(read(run.path()).unwrap().state.position.epoch, 1);
        write(run.path(), state(2), &tensors()).unwrap();
        assert_eq!(read(run.path()).unwrap().state.position.epoch, 2);
    }

    #[test]
    fn a_newer_version_is_no_broken_one() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), state(1), &tensors()).unwrap();
        write(run.path(), State { version: 9, ..state(2) }, &tensors()).unwrap();
        assert!(matches!(read(run.path()), Err(ReadError::Newer(9))));
        write(run.path(), State { version: 1, ..state(2) }, &tensors()).unwrap();
        assert!(matches!(read(run.path()), Err(ReadError::Older(1))));
    }

    #[test]
    fn leftovers_are_swept_up() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join(".checkpoint-abc")).unwrap();
        fs::write(run.path().join(".checkpoint-abc/state.json"), "{").unwrap();
        sweep_up(run.path()).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }
}
