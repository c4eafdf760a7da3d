//! What is done for one cell, and what lies in its folder.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    blackbox::{self, BlackboxConfig, BlackboxResult, Resources},
    cell::{Cell, OneShot, Search},
    error::CompareError,
    queue::{self, Progress, Results},
    result::CellResult,
    retraining::{self, Retraining},
    warmup::{has_trained, warmup},
};
use crate::{
    Here,
    data::LoadEvent,
    files::write_atomic,
    retrain::{self, RESULT, Retrain, RetrainError, Retrained},
    run::{self, CONFIG, Notice, RunError},
    search::{self, Config, Outcome, Plan, Resumed, SearchError, cpu_engines, finished, fit},
    space::Genotype,
    tables::{self, Difference},
};

/// Runs the searches `only`, `jobs` at a time, and goes on with those that have begun. One that fails leaves the others alone; one that may
/// go well the next time is tried once more. `stop`: once set, every running search saves its state and ends as interrupted; those that have
/// not begun are `None`.
pub fn run(
    cells: &[Cell],
    only: &[usize],
    jobs: usize,
    resources: Resources<'_>,
    stop: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Results {
    let work = |cell: &Cell| one(cells, cell, resources, stop, progress);
    queue::run(cells, only, jobs, stop, &work, progress)
}

fn one(
    cells: &[Cell],
    cell: &Cell,
    resources: Resources<'_>,
    stop: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Result<CellResult, CompareError> {
    let result = match &cell.search {
        Search::OneShot(search) => {
            let outcome = one_shot(cells, cell, search, resources, stop, progress)?;
            CellResult::of_search(&outcome)
        }
        Search::Blackbox(config) => black_box(cell, config, resources, stop, progress)?.into(),
    };
    match &cell.retraining {
        None => Ok(result),
        Some(retraining) => {
            let outcome = retrained(cell, retraining, &result.genotype, resources, stop, progress)?;
            Ok(result.with_retraining(&outcome))
        }
    }
}

fn one_shot(
    cells: &[Cell],
    cell: &Cell,
    search: &OneShot,
    resources: Resources<'_>,
    stop: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Result<Outcome, CompareError> {
    let failed = |source: SearchError| CompareError::Search { name: cell.label(), source };
    let mut loading = |event| progress.loading(cell, &event);
    let (home, threads, stop) = (resources.home, search.config.threads, Arc::clone(stop));
    if let Some(known) = begun(cell, search)? {
        if let Some(outcome) = finished(&cell.folder).map_err(failed)? {
            return Ok(outcome);
        }
        let mut now = Config { run: search.config.run, ..known.clone() };
        now.data.dir.clone_from(&search.config.data.dir);
        if now != known {
            // Since it began, others have come to wait for its warm-up, or the data has moved.
            let (path, toml) = (cell.folder.join(CONFIG), now.to_toml());
            write_atomic(&path, |w| w.write_all(toml.as_bytes()))
                .map_err(RunError::write(&path))
                .map_err(|e| failed(e.into()))?;
        }
        let observer = progress.observer(cell);
        let engines = |_: &Plan| cpu_engines(threads);
        let here = Here { home: home.map(Path::to_owned), threads, ..Here::default() };
        return match search::Search::resume(&cell.folder, &here, &mut loading, engines, observer, stop)
            .map_err(failed)?
        {
            Resumed::Ready(search) => search.run().map_err(failed),
            Resumed::Finished(outcome) => Ok(*outcome),
        };
    }
    let plan = Plan::new(search.config.clone(), home, &mut loading).map_err(failed)?;
    let from = search.warmup.map(|(run, _)| &cells[run].folder).zip(warmup(&search.config));
    if let Some((run, (epochs, _))) = from.filter(|(run, own)| has_trained(run, own)) {
        let (observer, stop) = (progress.observer(cell), Arc::clone(&stop));
        match search::Search::fork(plan.clone(), cpu_engines(threads), (run, epochs), &cell.folder, observer, stop) {
            Err(SearchError::Run(why @ (RunError::NoCheckpoint { .. } | RunError::Mismatch { .. }))) => {
                let warning = format!("trains its own warm-up: that of {} cannot be used ({why})", run.display());
                progress.observer(cell).notice(Notice::Warning(&warning));
            }
            search => return search.and_then(search::Search::run).map_err(failed),
        }
    }
    // It has no warm-up of another, or one that cannot be read.
    let search = search::Search::start(plan, cpu_engines(threads), &cell.folder, progress.observer(cell), stop);
    search.and_then(search::Search::run).map_err(failed)
}

fn black_box(
    cell: &Cell,
    config: &BlackboxConfig,
    resources: Resources<'_>,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<BlackboxResult, CompareError> {
    if let Some(result) = black_box_result(cell, config)? {
        return Ok(result);
    }
    let mut loading = |event| progress.loading(cell, &event);
    let failed = |source| CompareError::Blackbox { name: cell.label(), source };
    let result = config.run(resources, cell.threads(), &mut loading, stop).map_err(failed)?;
    let toml = config.table().to_string();
    write(&cell.folder.join(blackbox::CONFIG), toml.as_bytes())?;
    let path = cell.folder.join(blackbox::RESULT);
    let cannot = |e: serde_json::Error| CompareError::CellFile { path: path.clone(), why: e.to_string() };
    write(&path, &serde_json::to_vec_pretty(&result).map_err(cannot)?)?;
    Ok(result)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CompareError> {
    let cannot = |e: std::io::Error| CompareError::CellFile { path: path.to_owned(), why: e.to_string() };
    write_atomic(path, |w| w.write_all(bytes)).map_err(cannot)
}

fn retrained(
    cell: &Cell,
    retraining: &Retraining,
    genotype: &Genotype,
    resources: Resources<'_>,
    stop: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Result<retrain::Outcome, CompareError> {
    let failed = |source: RetrainError| CompareError::Retrain { name: cell.label(), source };
    let folder = cell.retraining_folder();
    retraining_begun(cell, retraining, genotype)?;
    let config = retraining.config(genotype).map_err(|e| failed(e.into()))?;
    let mut loading = |event| progress.loading(cell, &event);
    let here = Here { home: resources.home.map(Path::to_owned), ..Here::default() };
    let plan = |notify: &mut dyn FnMut(LoadEvent)| retrain::Plan::new(config, resources.home, notify);
    let observer = progress.observer(cell);
    Retrain::complete(&folder, &here, &mut loading, plan, observer, Arc::clone(stop)).map_err(failed)
}

impl Cell {
    /// What its search has found, and what has come of its training as far as that has ended. What has other settings is not its own.
    pub fn result(&self) -> Option<CellResult> {
        let result = match &self.search {
            Search::OneShot(search) => {
                begun(self, search).ok()??;
                CellResult::of_search(&finished(&self.folder).ok()??)
            }
            Search::Blackbox(config) => black_box_result(self, config).ok()??.into(),
        };
        let Some(retraining) = &self.retraining else { return Some(result) };
        let begun = retraining_begun(self, retraining, &result.genotype).ok()?;
        let ended = || run::finished::<Retrained>(&self.retraining_folder(), RESULT).ok()?;
        Some(match ended().filter(|_| begun) {
            Some(outcome) => result.with_retraining(&outcome),
            None => result,
        })
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.result().is_some_and(|result| self.retraining.is_none() || result.retrained.is_some())
    }

    /// Whether its search has begun, in this process or another.
    ///
    /// # Errors
    /// Its folder holds a search, or a training, with other settings, or one that cannot be read.
    pub fn has_begun(&self) -> Result<bool, CompareError> {
        let begun = match &self.search {
            Search::OneShot(search) => begun(self, search)?.is_some(),
            Search::Blackbox(config) => black_box_result(self, config)?.is_some(),
        };
        if let (Some(retraining), Some(result)) = (&self.retraining, self.found()) {
            retraining_begun(self, retraining, &result)?;
        }
        Ok(begun)
    }

    /// What its search has found, if it has ended.
    pub(super) fn found(&self) -> Option<Genotype> {
        match &self.search {
            Search::OneShot(search) => {
                begun(self, search).ok()??;
                Some(finished(&self.folder).ok()??.found.genotype)
            }
            Search::Blackbox(config) => Some(black_box_result(self, config).ok()??.genotype),
        }
    }

    /// Threads of its search.
    pub(super) fn threads(&self) -> usize {
        match (&self.search, &self.retraining) {
            (Search::OneShot(search), _) => search.config.threads.unwrap_or(1),
            (_, Some(retraining)) => retraining.threads(),
            _ => 1,
        }
    }

    fn other_settings(&self, Difference { key, one: now, other: there }: Difference, path: &Path) -> CompareError {
        CompareError::OtherSettings { path: path.to_owned(), name: self.name.clone(), key, there, now }
    }
}

/// The configuration of the search in the cell's folder, if there is one.
///
/// # Errors
/// One of other settings than the cell's, or that cannot be read.
fn begun(cell: &Cell, search: &OneShot) -> Result<Option<Config>, CompareError> {
    if !run::is_run(&cell.folder) {
        return match cell.folder.join(blackbox::CONFIG).exists() {
            true => Err(cell.other_settings(other_method(cell, "a black-box method"), &cell.folder)),
            false => Ok(None),
        };
    }
    let failed = |source: SearchError| CompareError::Search { name: cell.label(), source };
    let mut known = Config::read(&cell.folder.join(CONFIG)).map_err(|e| failed(e.into()))?;
    fit(&mut known).map_err(failed)?;
    let table = |config: &Config| {
        let mut config = config.decisive();
        // The data may have moved.
        config.data.dir = None;
        config.table()
    };
    match tables::differences(&table(&search.config), &table(&known)).into_iter().next() {
        Some(difference) => Err(cell.other_settings(difference, &cell.folder)),
        None => Ok(Some(known)),
    }
}

fn other_method(cell: &Cell, there: &str) -> Difference {
    Difference { key: "strategy".to_owned(), one: cell.search.method(), other: there.to_owned() }
}

/// The result of the black-box search in the cell's folder, if there is one.
///
/// # Errors
/// As [`begun`].
fn black_box_result(cell: &Cell, config: &BlackboxConfig) -> Result<Option<BlackboxResult>, CompareError> {
    if run::is_run(&cell.folder) {
        return Err(cell.other_settings(other_method(cell, "a search by a supernet"), &cell.folder));
    }
    let path = cell.folder.join(blackbox::CONFIG);
    let broken = |path: &Path, why: String| CompareError::CellFile { path: path.to_owned(), why };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(broken(&path, e.to_string())),
    };
    let there: BlackboxConfig = toml::from_str(&text).map_err(|e| broken(&path, tables::message(&e)))?;
    if let Some(difference) = tables::differences(&config.decisive(), &there.decisive()).into_iter().next() {
        return Err(cell.other_settings(difference, &cell.folder));
    }
    let path = cell.folder.join(blackbox::RESULT);
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| broken(&path, e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(broken(&path, e.to_string())),
    }
}

/// Whether the training of what was found has begun.
///
/// # Errors
/// There is one with other settings.
fn retraining_begun(cell: &Cell, retraining: &Retraining, genotype: &Genotype) -> Result<bool, CompareError> {
    let folder = cell.retraining_folder();
    if !run::is_run(&folder) {
        return Ok(false);
    }
    let failed = |source: RetrainError| CompareError::Retrain { name: cell.label(), source };
    let path = folder.join(CONFIG);
    let there = fs::read_to_string(&path);
    let there = there.map_err(|e| CompareError::CellFile { path: path.clone(), why: e.to_string() })?;
    let now = retraining.config(genotype).map_err(|e| failed(e.into()))?;
    match retraining::difference(&now, &there) {
        Some(difference) => Err(cell.other_settings(difference, &folder)),
        None => Ok(true),
    }
}
