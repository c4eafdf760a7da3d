use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    cell::{Cell, CompareError},
    file::{has_trained, warmup},
};
use crate::{
    Here,
    data::LoadEvent,
    files::write_atomic,
    run::{self, CONFIG, Keep, Notice, Observer, RunError},
    search::{self, Config, Outcome, Plan, Resumed, SearchError, cpu_engines, finished, fit},
    tables::{self, Difference},
};

/// Follows the searches of a comparison, from several threads.
pub trait Progress: Sync {
    /// The observer of one search.
    fn observer(&self, cell: &Cell) -> Box<dyn Observer>;

    /// The data of a search is being read.
    fn loading(&self, cell: &Cell, event: &LoadEvent);

    /// A search has ended.
    fn ended(&self, cell: usize, result: &Result<Outcome, CompareError>);
}

/// Time between two looks for warm-ups that have been trained.
const LOOK: Duration = Duration::from_secs(1);

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Ended,
}

/// A search, and whose warm-up it waits for by now.
struct Search {
    cell: Cell,
    stage: Stage,
}

/// Runs the searches, `jobs` at a time, and goes on with those that have begun. One that fails leaves the others alone.
/// `stop`: once set, every running search saves its state and ends with [`RunError::Interrupted`]; those that have not
/// begun are `None`.
pub fn run(
    cells: &[Cell],
    jobs: usize,
    home: Option<&Path>,
    stop: &Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Vec<Option<Result<Outcome, CompareError>>> {
    let searches = cells.iter().map(|cell| Search { cell: cell.clone(), stage: Stage::Waiting }).collect();
    let searches = Mutex::new(searches);
    let results: Vec<Mutex<Option<Result<Outcome, CompareError>>>> = cells.iter().map(|_| Mutex::new(None)).collect();
    let changed = Condvar::new();
    let work = || {
        while let Some((index, cell)) = next(&searches, &changed, stop) {
            let result = one(cells, &cell, home, Arc::clone(stop), progress);
            progress.ended(index, &result);
            *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            searches.lock().unwrap_or_else(PoisonError::into_inner)[index].stage = Stage::Ended;
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cells.len()) {
            scope.spawn(work);
        }
    });
    results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// The next search that can begin: one that trains its own warm-up, or whose warm-up has been trained or will not be.
/// Waits where there is none yet; `None` where nothing is left or the user wants to stop.
fn next(searches: &Mutex<Vec<Search>>, changed: &Condvar, stop: &AtomicBool) -> Option<(usize, Cell)> {
    let mut searches = searches.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let waiting = || (0..searches.len()).filter(|&i| searches[i].stage == Stage::Waiting);
        if let Some(index) = waiting().find(|&i| can_begin(&searches, i)) {
            take_over(&mut searches, index);
            searches[index].stage = Stage::Running;
            return Some((index, searches[index].cell.clone()));
        }
        waiting().next()?;
        // The end of a warm-up shows in the folder only.
        searches = changed.wait_timeout(searches, LOOK).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn can_begin(searches: &[Search], index: usize) -> bool {
    let nobody_trains = |(run, _): (usize, usize)| searches[run].stage == Stage::Ended;
    searches[index].cell.warmup.is_none_or(nobody_trains) || has_warmup(searches, index)
}

/// Whether a search is past waiting: it has begun itself, or the one that it waits for keeps the warm-up.
fn has_warmup(searches: &[Search], index: usize) -> bool {
    let cell = &searches[index].cell;
    let from = cell.warmup.map(|(run, _)| &searches[run].cell.folder);
    let trained = |run| warmup(&cell.config).is_some_and(|own| has_trained(run, &own));
    run::is_run(&cell.folder) || from.is_some_and(|run| trained(run))
}

/// A search that can begin but whose warm-up nobody trains any more (the one that should have has failed, or its folder
/// holds another search) does it in that one's place, for the others too that wait for it.
fn take_over(searches: &mut [Search], index: usize) {
    let Some((run, epochs)) = searches[index].cell.warmup.filter(|_| !has_warmup(searches, index)) else { return };
    searches[index].cell.warmup = None;
    for other in 0..searches.len() {
        if searches[other].stage == Stage::Waiting && searches[other].cell.warmup == Some((run, epochs)) {
            searches[other].cell.warmup = Some((index, epochs));
            searches[index].cell.config.run.keep_epochs = Keep::ALL;
        }
    }
}

fn one(
    cells: &[Cell],
    cell: &Cell,
    home: Option<&Path>,
    stop: Arc<AtomicBool>,
    progress: &dyn Progress,
) -> Result<Outcome, CompareError> {
    let failed = |source: SearchError| CompareError::Search { name: cell.label(), source };
    let mut loading = |event| progress.loading(cell, &event);
    let threads = cell.config.threads;
    if let Some(known) = begun(cell)? {
        if let Some(outcome) = finished(&cell.folder).map_err(failed)? {
            return Ok(outcome);
        }
        let mut now = Config { run: cell.config.run, ..known.clone() };
        now.data.dir.clone_from(&cell.config.data.dir);
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
    let plan = Plan::new(cell.config.clone(), home, &mut loading).map_err(failed)?;
    let from = cell.warmup.map(|(run, _)| &cells[run].folder).zip(warmup(&cell.config));
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

impl Cell {
    /// The result of its search, if that has ended. A search with other settings in its folder is not its own.
    pub fn outcome(&self) -> Option<Outcome> {
        ended(self)
    }

    /// Whether its search has begun, in this process or another.
    ///
    /// # Errors
    /// Its folder holds a search with other settings, or one that cannot be read.
    pub fn has_begun(&self) -> Result<bool, CompareError> {
        Ok(begun(self)?.is_some())
    }
}

/// The result of a search of the comparison, if it has ended.
fn ended(cell: &Cell) -> Option<Outcome> {
    begun(cell).ok()??;
    finished(&cell.folder).ok()?
}

/// The configuration of the search in the cell's folder, if there is one.
///
/// # Errors
/// One of other settings than the cell's, or that cannot be read.
fn begun(cell: &Cell) -> Result<Option<Config>, CompareError> {
    if !run::is_run(&cell.folder) {
        return Ok(None);
    }
    let failed = |source: SearchError| CompareError::Search { name: cell.label(), source };
    let mut known = Config::read(&cell.folder.join(CONFIG)).map_err(|e| failed(e.into()))?;
    fit(&mut known).map_err(failed)?;
    match difference(&cell.config, &known) {
        Some(Difference { key, one: now, other: there }) => {
            let (path, name) = (cell.folder.clone(), cell.name.clone());
            Err(CompareError::OtherSettings { path, name, key, there, now })
        }
        None => Ok(Some(known)),
    }
}

/// What decides the result and is not the same in both. The data may have moved.
fn difference(now: &Config, there: &Config) -> Option<Difference> {
    let table = |config: &Config| {
        let mut config = config.decisive();
        config.data.dir = None;
        config.table()
    };
    let (now, there) = (table(now), table(there));
    let swapped = |Difference { key, one, other }| Difference { key, one: other, other: one };
    tables::difference(&now, &there).or_else(|| tables::difference(&there, &now).map(swapped))
}
