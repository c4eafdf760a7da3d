//! Everything that can be known to fail, before anything is begun.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    blackbox::Resources,
    cell::{Cell, Search},
    error::CompareError,
};
use crate::{
    blackbox::{BlackboxError, Domain},
    data::LoadEvent,
    memory::{MemoryNeed, TooLarge},
    retrain::{self, RetrainError},
    search::{Plan, SearchError},
    space::{self, Genotype, SpaceError},
};

/// Checks that the folders can be written to, that none holds a search with other settings, and that the data, the table and the memory
/// are there that the cells `only` need. `notify` is told how data is being read.
///
/// # Errors
/// Everything that is wrong, all of it at once.
pub fn check(
    cells: &[Cell],
    only: &[usize],
    out: &Path,
    resources: Resources<'_>,
    notify: &mut dyn FnMut(LoadEvent),
) -> Result<(), CompareError> {
    let mut faults: Vec<CompareError> = writable(out).err().into_iter().collect();
    let mut checked: Vec<&str> = Vec::new();
    for cell in only.iter().map(|&i| &cells[i]) {
        if let Err(fault) = cell.has_begun() {
            faults.push(fault);
        } else if !checked.contains(&cell.name.as_str()) && !cell.is_done() {
            // Seeds of the same settings need the same.
            checked.push(&cell.name);
            faults.extend(needs(cell, resources, notify).err());
            faults.extend(retraining(cell, resources, notify).err());
        }
    }
    CompareError::of(faults).map_or(Ok(()), Err)
}

/// Checks that a folder, or the one that it will be made in, can be written to. Leaves nothing there.
fn writable(out: &Path) -> Result<(), CompareError> {
    let failed = |path: &Path, source| CompareError::Folder { path: path.to_owned(), source };
    let whole = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    let there: PathBuf = whole.ancestors().find(|path| path.exists()).unwrap_or(out).to_owned();
    if !there.is_dir() {
        return Err(failed(&there, io::ErrorKind::NotADirectory.into()));
    }
    fs::read_dir(&there).map_err(|e| failed(&there, e))?;
    tempfile::Builder::new()
        .prefix(crate::files::TEMPORARY)
        .tempfile_in(&there)
        .map(drop)
        .map_err(|e| failed(&there, e))
}

/// Checks what the search of a cell needs.
fn needs(cell: &Cell, resources: Resources<'_>, notify: &mut dyn FnMut(LoadEvent)) -> Result<(), CompareError> {
    let name = || cell.name.clone();
    if cell.found().is_some() {
        return Ok(());
    }
    match &cell.search {
        Search::OneShot(search) => {
            let plan = Plan::new(search.config.clone(), resources.home, notify);
            let fits = plan.and_then(|plan| Ok(fits(plan.memory()?)?));
            fits.map_err(|source: SearchError| CompareError::Search { name: name(), source })
        }
        Search::Blackbox(config) => config
            .check(resources, cell.threads(), notify)
            .map_err(|source: BlackboxError| CompareError::Blackbox { name: name(), source }),
    }
}

/// Checks what the training of a cell needs: of what was found, else of any architecture.
fn retraining(cell: &Cell, resources: Resources<'_>, notify: &mut dyn FnMut(LoadEvent)) -> Result<(), CompareError> {
    let Some(retraining) = &cell.retraining else { return Ok(()) };
    let failed = |source: RetrainError| CompareError::Retrain { name: cell.name.clone(), source };
    let genotype = cell.found().map_or_else(|| any(cell.search.space()), Ok).map_err(|e| failed(e.into()))?;
    let config = retraining.config(&genotype).map_err(|e| failed(e.into()))?;
    let plan = retrain::Plan::new(config, resources.home, notify).map_err(failed)?;
    plan.memory().and_then(|need| Ok(fits(need)?)).map_err(failed)
}

/// Some genotype of a space.
fn any(space: &str) -> Result<Genotype, SpaceError> {
    let domain = Domain::new(space::find(space)?);
    domain.genotype(&vec![1; domain.variables().len()])
}

fn fits(need: MemoryNeed) -> Result<(), TooLarge> {
    need.check().map(drop)
}
