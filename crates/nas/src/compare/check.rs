//! Everything that can be known to fail, before anything is begun.

use std::{fs, io, path::Path, sync::Arc};

use super::{
    blackbox::Resources,
    cell::{Cell, Search},
    error::CompareError,
    file::{Comparison, Draft},
};
use crate::{
    blackbox::{BlackboxError, Domain},
    data::{DataError, Dataset, LoadEvent},
    files,
    memory::{MemoryNeed, TooLarge},
    retrain::{self, RetrainError},
    run::{self, RunError},
    search::{self, Plan, SearchError},
    space::{self, Genotype, SpaceError},
};

impl Draft {
    /// Checks that the folders can be written to, that none holds a search with other settings, and that the data, the table and the
    /// memory are there that the cells `only` need. `notify` is told how data is being read.
    ///
    /// # Errors
    /// Everything that is wrong with the file and with these, all of it at once.
    pub fn checked(
        self,
        only: &[usize],
        out: &Path,
        resources: Resources<'_>,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<Comparison, CompareError> {
        let Self { comparison, mut faults } = self;
        // Indices are of a file without faults.
        let all = !faults.is_empty();
        faults.extend(files::check_writable(out).err().map(|(path, source)| CompareError::Folder { path, source }));
        let mut checks = Checks { resources, notify, data: Vec::new() };
        let mut checked: Vec<&str> = Vec::new();
        for (_, cell) in comparison.cells.iter().enumerate().filter(|(i, _)| all || only.contains(i)) {
            if let Err(fault) = cell.has_begun() {
                faults.push(fault);
            } else if !checked.contains(&cell.name.as_str()) && !cell.is_done() {
                // Seeds of the same settings need the same.
                checked.push(&cell.name);
                faults.extend(checks.search(cell).err());
                faults.extend(checks.retraining(cell).err());
            }
            faults.extend(occupied(cell).err());
        }
        CompareError::of(faults).map_or(Ok(comparison), Err)
    }
}

/// Checks that the folder of a search that has not begun is new or empty.
fn occupied(cell: &Cell) -> Result<(), CompareError> {
    let training = cell.retraining.is_some().then(|| cell.retraining_folder());
    let search = cell.one_shot().is_some().then(|| cell.folder.clone());
    for folder in search.into_iter().chain(training).filter(|folder| !run::is_run(folder) && !run::is_starting(folder))
    {
        let occupied = match fs::read_dir(&folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        };
        if occupied {
            let source = SearchError::Run(RunError::Exists(folder));
            return Err(CompareError::Search { name: cell.label(), source });
        }
    }
    Ok(())
}

/// What cells need, every data set read once.
struct Checks<'a> {
    resources: Resources<'a>,
    notify: &'a mut dyn FnMut(LoadEvent),
    data: Vec<(String, Arc<Dataset>)>,
}

impl Checks<'_> {
    fn search(&mut self, cell: &Cell) -> Result<(), CompareError> {
        let name = || cell.name.clone();
        if cell.found().is_some() {
            return Ok(());
        }
        match &cell.search {
            Search::OneShot(search) => {
                let home = self.resources.home;
                let plan = Plan::with(search.config.clone(), |config| {
                    self.read(format!("{:?} {:?}", config.dataset, config.data), |notify| {
                        search::load(config, home, notify)
                    })
                });
                let fits = plan.and_then(|plan| Ok(fits(plan.memory()?)?));
                fits.map_err(|source: SearchError| CompareError::Search { name: name(), source })
            }
            Search::Blackbox(config) => config
                .check(self.resources, cell.threads(), self.notify)
                .map_err(|source: BlackboxError| CompareError::Blackbox { name: name(), source }),
        }
    }

    /// Of what was found, else of any architecture.
    fn retraining(&mut self, cell: &Cell) -> Result<(), CompareError> {
        let Some(retraining) = &cell.retraining else { return Ok(()) };
        let failed = |source: RetrainError| CompareError::Retrain { name: cell.name.clone(), source };
        let genotype = cell.found().map_or_else(|| any(cell.search.space()), Ok).map_err(|e| failed(e.into()))?;
        let config = retraining.config(&genotype).map_err(|e| failed(e.into()))?;
        let home = self.resources.home;
        let plan = retrain::Plan::with(config, |config| {
            self.read(format!("retrain {:?} {:?}", config.dataset, config.data), |notify| {
                retrain::load(config, home, notify)
            })
        });
        plan.and_then(|plan| Ok(fits(plan.memory()?)?)).map_err(failed)
    }

    fn read(
        &mut self,
        key: String,
        load: impl FnOnce(&mut dyn FnMut(LoadEvent)) -> Result<Arc<Dataset>, DataError>,
    ) -> Result<Arc<Dataset>, DataError> {
        if let Some((_, known)) = self.data.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known));
        }
        let dataset = load(self.notify)?;
        self.data.push((key, Arc::clone(&dataset)));
        Ok(dataset)
    }
}

/// Some genotype of a space.
fn any(space: &str) -> Result<Genotype, SpaceError> {
    let domain = Domain::new(space::find(space)?);
    domain.genotype(&vec![1; domain.variables().len()])
}

fn fits(need: MemoryNeed) -> Result<(), TooLarge> {
    need.check().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        benchmark::{Column, Table, made_up},
        compare::Place,
    };

    fn faults(text: &str, table: Option<&Table>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("c.toml"), folder.path().join("out"));
        fs::write(&file, text).unwrap();
        let draft = Draft::read(&file, &Place::new(&out)).unwrap();
        let only: Vec<usize> = (0..draft.cells().unwrap_or(0)).collect();
        let checked = draft.checked(&only, &out, Resources { home: None, table }, &mut |_| ());
        assert!(!out.exists());
        checked.map_or_else(|e| e.to_string(), |_| String::new())
    }

    const BLACKBOX: &str = "seeds = [0, 1]\n[settings]\nblackbox.budget = 1000\n[matrix]\n\
                            strategy = ['blackbox.bohb', 'blackbox.reinforce']\n";

    #[test]
    fn a_simulation_needs_the_table_and_its_columns() {
        assert_eq!(faults(BLACKBOX, Some(&made_up())), "");
        let none = faults(BLACKBOX, None);
        assert!(
            none.starts_with("2 faults; nothing was begun:\n- strategy=blackbox.bohb: the NAS-Bench-201 table"),
            "{none}"
        );
        let without = made_up().without_column(Column::Cifar10Valid12);
        let why = faults(BLACKBOX, Some(&without));
        assert!(
            why.contains("the table has no column `cifar10_valid_12`, which the simulation of a training needs"),
            "{why}"
        );
        let poor = faults(&BLACKBOX.replace("1000", "0.001"), Some(&made_up()));
        assert!(poor.contains("a budget of 0.001 simulated seconds, expected at least"), "{poor}");
    }

    #[test]
    fn faults_of_the_file_and_of_the_data_are_told_together() {
        let text = "seeds = [0]\n[settings]\nstrategy = 'darts'\n[runs.a]\ntraining.momentum = 2.0\n[runs.b]\ndataset = 'cifar10'\n\
                    [runs.c]\n[retrain]\nnetwork.auxiliary = 0.4\n";
        let why = faults(text, None);
        assert!(why.starts_with("4 faults"), "{why}");
        for part in ["a: training.momentum = 2", "b: cifar10 is not built in", "c, retraining: network.auxiliary = 0.4"]
        {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
