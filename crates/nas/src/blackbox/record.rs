use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{
    domain::Domain,
    error::BlackboxError,
    evaluator::{Evaluation, Evaluator, Levels},
    methods::MethodConfig,
    runs::Outcome,
};
use crate::{
    files::{TEMPORARY, write_atomic},
    numbers::Number,
    run::{Journal, RunError},
    search::ConfigError,
    space::Genotype,
    tables,
};

/// What a search in a folder was started with.
const SETTINGS: &str = "blackbox.toml";

/// Its evaluations so far, a JSON object a line.
const EVALUATIONS: &str = "evaluations.jsonl";

/// What its runs have come to: a list of [`Outcome`].
const RESULT: &str = "result.json";

/// Everything that decides a search; its folder says it, and goes on with no other.
#[derive(Clone, Debug, Serialize)]
pub struct Settings<'a> {
    /// Name of the space.
    pub space: &'a str,
    /// Seed of the first run.
    pub seed: u64,
    /// Runs.
    pub runs: usize,
    /// What a run may spend, in the evaluator's unit.
    pub budget: f64,
    /// The method and its settings.
    pub method: &'a MethodConfig,
    /// What the values depend on.
    pub evaluator: Table,
}

impl Settings<'_> {
    fn table(&self) -> Result<Table, ConfigError> {
        // TOML has no larger numbers.
        if i64::try_from(self.seed).is_err() {
            return Err(ConfigError::range("seed", self.seed, &format!("at most {}", i64::MAX)));
        }
        Table::try_from(self).map_err(|e| ConfigError::Whole(e.to_string()))
    }
}

/// The folder of a search, with every evaluation that was made: the same search goes on where it was stopped, since its method asks
/// the same again. An architecture that is asked again is not evaluated again.
#[derive(Debug)]
pub struct Record {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    journal: Journal,
    evaluations: HashMap<(String, usize), Evaluation>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    arch: String,
    level: usize,
    value: Number,
    cost: f64,
}

impl Record {
    /// Opens the folder of a search with these settings, or makes it. It is locked as long as this lives.
    ///
    /// # Errors
    /// [`BlackboxError::Foreign`]: it holds something else; [`BlackboxError::OtherSettings`]; [`BlackboxError::Record`];
    /// [`BlackboxError::Run`]: it cannot be read or written to, or another process is working in it. It is then as it was.
    pub fn open(folder: &Path, settings: &Settings<'_>) -> Result<Self, BlackboxError> {
        let settings = settings.table()?;
        let path = folder.join(SETTINGS);
        match fs::read_to_string(&path) {
            Ok(there) => {
                let there = there.parse().map_err(|e: toml::de::Error| broken(&path, 1, e.message()))?;
                if let Some(difference) = tables::differences(&settings, &there).into_iter().next() {
                    let tables::Difference { key, one: now, other: there } = difference;
                    let difference = format!("{key} is {there}, now {now}");
                    return Err(BlackboxError::OtherSettings { folder: folder.to_owned(), difference });
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if !is_free(folder)? {
                    return Err(BlackboxError::Foreign(folder.to_owned()));
                }
                let text = settings.to_string();
                write_atomic(&path, |w| w.write_all(text.as_bytes())).map_err(RunError::write(&path))?;
            }
            Err(source) => return Err(RunError::Open { path, source }.into()),
        }
        let path = folder.join(EVALUATIONS);
        let opened = Journal::open(&path).and_then(|mut journal| journal.close_line().map(|()| journal));
        let journal = opened.map_err(|source| RunError::Open { path: path.clone(), source })?;
        let text = fs::read_to_string(&path).map_err(|source| RunError::Open { path: path.clone(), source })?;
        let read = |(at, line): (usize, &str)| {
            let line: Line = serde_json::from_str(line).map_err(|e| broken(&path, at + 1, &e.to_string()))?;
            let evaluation = Evaluation { value: line.value.0, cost: line.cost };
            Ok(((line.arch, line.level), evaluation))
        };
        let evaluations = text.lines().enumerate().map(read).collect::<Result<_, BlackboxError>>()?;
        Ok(Self { folder: folder.to_owned(), known: Mutex::new(Known { journal, evaluations }) })
    }

    /// Writes what the runs have come to; that it is there says that the search has ended.
    ///
    /// # Errors
    /// [`BlackboxError::Run`].
    pub fn finish(&self, outcomes: &[Outcome]) -> Result<(), BlackboxError> {
        let path = self.folder.join(RESULT);
        let written = write_atomic(&path, |w| Ok(serde_json::to_writer_pretty(w, outcomes)?));
        Ok(written.map_err(RunError::write(path))?)
    }

    /// How many evaluations it holds.
    pub fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).evaluations.len()
    }

    /// Whether none has been made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn broken(path: &Path, line: usize, why: &str) -> BlackboxError {
    BlackboxError::Record { path: path.to_owned(), line, why: why.trim_end().to_owned() }
}

/// Whether a search may begin in a folder: there is nothing in it but what a killed process has left half-written.
fn is_free(folder: &Path) -> Result<bool, BlackboxError> {
    let cannot = |source| RunError::Create { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(cannot(e).into()),
    };
    for entry in entries {
        if !entry.map_err(cannot)?.file_name().to_string_lossy().starts_with(TEMPORARY) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An evaluator whose evaluations are looked up in a record, and written to it where they are not there yet.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// The space.
    pub domain: &'a Domain,
    /// What evaluates.
    pub evaluator: &'a dyn Evaluator,
    /// What is known.
    pub record: &'a Record,
}

impl Evaluator for Recorded<'_> {
    fn levels(&self) -> Levels {
        self.evaluator.levels()
    }

    fn unit(&self) -> &'static str {
        self.evaluator.unit()
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        self.evaluator.costs(level)
    }

    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        let arch = self.domain.space().text(genotype)?;
        let mut known = self.record.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { journal, evaluations } = &mut *known;
        let asked = (arch, level);
        if let Some(&evaluation) = evaluations.get(&asked) {
            return Ok(evaluation);
        }
        let evaluation = self.evaluator.evaluate(genotype, level)?;
        let Evaluation { value, cost } = evaluation;
        let line = Line { arch: asked.0.clone(), level, value: Number(value), cost };
        let written = journal.append(&line).and_then(|()| journal.sync());
        written.map_err(RunError::write(journal.path()))?;
        evaluations.insert(asked, evaluation);
        Ok(evaluation)
    }
}
