//! Which search is next: those that wait for a warm-up wait, and what has broken gets a second chance in the end.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    cell::Cell,
    error::CompareError,
    result::CellResult,
    warmup::{has_trained, warmup},
};
use crate::{
    data::LoadEvent,
    run::{self, Keep, Observer},
};

/// Follows the searches of a comparison, from several threads.
pub trait Progress: Sync {
    /// The observer of one search, or of the training of what it has found.
    fn observer(&self, cell: &Cell) -> Box<dyn Observer>;

    /// The data of a search is being read.
    fn loading(&self, cell: &Cell, event: &LoadEvent);

    /// A search has broken and will be tried once more.
    fn again(&self, cell: usize, why: &CompareError);

    /// A search has ended.
    fn ended(&self, cell: usize, result: &Result<CellResult, CompareError>);
}

/// Does the work of a cell, or goes on with it.
pub(super) type Work<'a> = &'a (dyn Fn(&Cell) -> Result<CellResult, CompareError> + Sync);

/// What has come of every cell; `None`: it was not to be run, or not begun before the user stopped it.
pub type Results = Vec<Option<Result<CellResult, CompareError>>>;

/// Time between two looks for warm-ups that have been trained.
const LOOK: Duration = Duration::from_secs(1);

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Broken once.
    Again,
    Running,
    Ended,
}

/// A search, and whose warm-up it waits for by now.
struct Queued {
    cell: Cell,
    stage: Stage,
}

/// Does the work of the cells `only`, `jobs` at a time. One that fails leaves the others alone. `stop`: once set, none begins any more.
pub(super) fn run(
    cells: &[Cell],
    only: &[usize],
    jobs: usize,
    stop: &AtomicBool,
    work: Work<'_>,
    progress: &dyn Progress,
) -> Results {
    // Nobody here trains a warm-up in the place of a cell that is not to be run.
    let stage = |i| if only.contains(&i) { Stage::Waiting } else { Stage::Ended };
    let queue = cells.iter().enumerate().map(|(i, cell)| Queued { cell: cell.clone(), stage: stage(i) }).collect();
    let queue = Mutex::new(queue);
    let results: Vec<Mutex<Option<Result<CellResult, CompareError>>>> =
        cells.iter().map(|_| Mutex::new(None)).collect();
    let changed = Condvar::new();
    let worker = || {
        while let Some((index, cell, first)) = next(&queue, &changed, stop) {
            let result = work(&cell);
            let stage = match &result {
                Err(error) if first && error.may_pass() => {
                    progress.again(index, error);
                    Stage::Again
                }
                _ => {
                    progress.ended(index, &result);
                    Stage::Ended
                }
            };
            *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            queue.lock().unwrap_or_else(PoisonError::into_inner)[index].stage = stage;
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(only.len()) {
            scope.spawn(worker);
        }
    });
    results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// The next search that can begin, and whether it is tried for the first time: one that trains its own warm-up, or whose warm-up has been
/// trained or will not be; when all have ended, one that has broken: what it lacked, memory say, is then there if ever.
/// Waits where there is none yet; `None` where nothing is left or the user wants to stop.
fn next(queue: &Mutex<Vec<Queued>>, changed: &Condvar, stop: &AtomicBool) -> Option<(usize, Cell, bool)> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let at = |stage| (0..queue.len()).find(|&i| queue[i].stage == stage);
        let fresh = (0..queue.len()).find(|&i| queue[i].stage == Stage::Waiting && can_begin(&queue, i));
        let busy = at(Stage::Waiting).or(at(Stage::Running)).is_some();
        let again = at(Stage::Again).filter(|_| !busy);
        if let Some(index) = fresh.or(again) {
            if fresh.is_some() {
                take_over(&mut queue, index);
            }
            queue[index].stage = Stage::Running;
            return Some((index, queue[index].cell.clone(), fresh.is_some()));
        }
        at(Stage::Waiting).or(at(Stage::Again))?;
        // The end of a warm-up shows in the folder only.
        queue = changed.wait_timeout(queue, LOOK).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn can_begin(queue: &[Queued], index: usize) -> bool {
    let nobody_trains = |(run, _): (usize, usize)| [Stage::Ended, Stage::Again].contains(&queue[run].stage);
    queue[index].cell.warmup().is_none_or(nobody_trains) || has_warmup(queue, index)
}

/// Whether a search is past waiting: it has begun itself, or the one that it waits for keeps the warm-up.
fn has_warmup(queue: &[Queued], index: usize) -> bool {
    let cell = &queue[index].cell;
    let from = cell.warmup().map(|(run, _)| &queue[run].cell.folder);
    let own = || warmup(&cell.one_shot()?.config);
    run::is_run(&cell.folder) || from.is_some_and(|run| own().is_some_and(|own| has_trained(run, &own)))
}

/// A search that can begin but whose warm-up nobody trains any more (the one that should have has failed, or is not to be run) does it in
/// that one's place, for the others too that wait for it.
fn take_over(queue: &mut [Queued], index: usize) {
    let Some((run, epochs)) = queue[index].cell.warmup().filter(|_| !has_warmup(queue, index)) else { return };
    if let Some(search) = queue[index].cell.one_shot_mut() {
        search.warmup = None;
    }
    for other in 0..queue.len() {
        if queue[other].stage == Stage::Waiting && queue[other].cell.warmup() == Some((run, epochs)) {
            if let Some(search) = queue[other].cell.one_shot_mut() {
                search.warmup = Some((index, epochs));
            }
            if let Some(search) = queue[index].cell.one_shot_mut() {
                search.config.run.keep_epochs = Keep::ALL;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{Comparison, Place},
        run::RunError,
        search::SearchError,
        space::{Arch, Genotype},
    };

    /// What has been told, by cell.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Progress for Told {
        fn observer(&self, _cell: &Cell) -> Box<dyn Observer> {
            unreachable!("no search runs here")
        }

        fn loading(&self, _cell: &Cell, _event: &LoadEvent) {}

        fn again(&self, cell: usize, why: &CompareError) {
            self.0.lock().unwrap().push(format!("{cell} again: {why}"));
        }

        fn ended(&self, cell: usize, result: &Result<CellResult, CompareError>) {
            self.0.lock().unwrap().push(format!("{cell} {}", if result.is_ok() { "done" } else { "failed" }));
        }
    }

    fn cells() -> Vec<Cell> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "seeds = [0, 1, 2]\n[settings]\nstrategy = \"darts\"\n").unwrap();
        Comparison::read(&file, &Place::new(&folder.path().join("out"))).unwrap().cells
    }

    fn result() -> CellResult {
        CellResult::of(Genotype::from(Arch::from_index(5).unwrap()), "x".to_owned(), Some(5))
    }

    fn full(cell: &Cell) -> CompareError {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let source = SearchError::Run(RunError::Write { path: "x".into(), source });
        CompareError::Search { name: cell.label(), source }
    }

    #[test]
    fn what_breaks_is_tried_once_more_after_the_others() {
        let (cells, told, tries) = (cells(), Told::default(), Mutex::new(0));
        let work = |cell: &Cell| {
            let mut tries = tries.lock().unwrap();
            *tries += usize::from(cell.seed == 0);
            if cell.seed == 0 && *tries == 1 { Err(full(cell)) } else { Ok(result()) }
        };
        let results = run(&cells, &[0, 1, 2], 1, &AtomicBool::new(false), &work, &told);
        assert!(results.iter().all(|r| r.as_ref().unwrap().is_ok()) && *tries.lock().unwrap() == 2);
        let told = told.0.into_inner().unwrap();
        assert!(told[0].starts_with("0 again: ") && told[1..] == ["1 done", "2 done", "0 done"], "{told:?}");
    }

    #[test]
    fn what_breaks_again_fails_and_what_is_computed_is_not_tried_again() {
        let (cells, told) = (cells(), Told::default());
        let work = |cell: &Cell| match cell.seed {
            0 => Err(full(cell)),
            1 => {
                let what = "the loss".to_owned();
                let source = RunError::NotFinite { what, value: f64::NAN, epoch: 1, step: None }.into();
                Err(CompareError::Search { name: cell.label(), source })
            }
            _ => Ok(result()),
        };
        let results = run(&cells, &[0, 1, 2], 2, &AtomicBool::new(false), &work, &told);
        assert_eq!(results.iter().map(|r| r.as_ref().unwrap().is_ok()).collect::<Vec<_>>(), [false, false, true]);
        let told = told.0.into_inner().unwrap();
        assert_eq!(told.iter().filter(|t| t.contains("again")).count(), 1, "{told:?}");
    }

    #[test]
    fn only_some_cells_are_run() {
        let (cells, told) = (cells(), Told::default());
        let results = run(&cells, &[1], 2, &AtomicBool::new(false), &|_| Ok(result()), &told);
        assert_eq!(results.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
        let stopped = run(&cells, &[0, 1], 1, &AtomicBool::new(true), &|_| Ok(result()), &told);
        assert!(stopped.iter().all(Option::is_none));
    }
}
