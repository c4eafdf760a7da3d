use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{super::*, Convolutions, ONE_LEVEL, TWO_LEVELS, defaults, problem_of};

const BUDGET: f64 = 60.0;

/// Is interrupted after one evaluation.
#[derive(Debug)]
struct Once<'a>(&'a Convolutions, AtomicUsize);

impl Evaluator for Once<'_> {
    fn levels(&self) -> Levels {
        self.0.levels()
    }

    fn unit(&self) -> &'static str {
        self.0.unit()
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        self.0.costs(level)
    }

    fn evaluate(&self, genotype: &crate::space::Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        match self.1.fetch_add(1, Ordering::Relaxed) {
            0 => self.0.evaluate(genotype, level),
            _ => Err(BlackboxError::Interrupted),
        }
    }
}

fn settings(method: &MethodConfig) -> Settings<'_> {
    Settings { space: "nas-bench-201", seed: 7, runs: 2, budget: BUDGET, method, evaluator: Default::default() }
}

fn search(method: &MethodConfig, evaluator: &dyn Evaluator) -> Result<Vec<Outcome>, BlackboxError> {
    run_all(method, &problem_of(&TWO_LEVELS), evaluator, BUDGET, (7, 2), 1, &|| {})
}

fn in_folder(folder: &Path, method: &MethodConfig, evaluator: &dyn Evaluator) -> Result<Vec<Outcome>, BlackboxError> {
    let record = Record::open(folder, &settings(method))?;
    let domain = &problem_of(evaluator).domain;
    let outcomes = search(method, &Recorded { domain, evaluator, record: &record })?;
    record.finish(&outcomes)?;
    Ok(outcomes)
}

fn text(outcomes: &[Outcome]) -> String {
    let trials: Vec<_> = outcomes.iter().map(|o| &o.trials).collect();
    serde_json::to_string(&(outcomes, trials)).unwrap()
}

#[test]
fn stopped_after_every_evaluation_a_search_ends_as_if_it_had_not_been() {
    for method in defaults() {
        let folder = tempfile::tempdir().unwrap();
        let whole = search(&method, &TWO_LEVELS).unwrap();
        let asked = whole.iter().flat_map(|o| &o.trials).map(|t| (&t.proposal.choice, t.proposal.level));
        let distinct = asked.collect::<BTreeSet<_>>().len();
        let mut stopped = 0;
        let ended = loop {
            match in_folder(folder.path(), &method, &Once(&TWO_LEVELS, AtomicUsize::new(0))) {
                Ok(outcomes) => break outcomes,
                Err(error) => assert!(matches!(error, BlackboxError::Interrupted), "{error}"),
            }
            stopped += 1;
            assert!(!folder.path().join("result.json").exists());
            assert_eq!(Record::open(folder.path(), &settings(&method)).unwrap().len(), stopped);
        };
        assert_eq!(text(&ended), text(&whole), "{}", method.name());
        let result = fs::read_to_string(folder.path().join("result.json")).unwrap();
        assert_eq!(result, serde_json::to_string_pretty(&whole).unwrap());
        assert_eq!(stopped + 1, distinct, "{}: what is known is not evaluated again", method.name());
    }
}

#[test]
fn a_record_that_is_cut_anywhere_goes_on_identically() {
    let (folder, method) = (tempfile::tempdir().unwrap(), &defaults()[1]);
    let whole = text(&in_folder(folder.path(), method, &TWO_LEVELS).unwrap());
    let path = folder.path().join("evaluations.jsonl");
    let record = fs::read(&path).unwrap();
    for length in (0..record.len()).step_by(37) {
        fs::write(&path, &record[..length]).unwrap();
        assert_eq!(text(&in_folder(folder.path(), method, &TWO_LEVELS).unwrap()), whole);
        assert!(fs::read(&path).unwrap() == record, "cut at {length}");
    }
    // All is known: nothing is evaluated.
    in_folder(folder.path(), method, &Once(&ONE_LEVEL, AtomicUsize::new(1))).unwrap();
}

#[test]
fn a_folder_of_something_else_is_refused_and_stays_as_it_is() {
    let out = tempfile::tempdir().unwrap();
    let [search, foreign, new] = ["search", "foreign", "new"].map(|name| out.path().join(name));
    let methods = defaults();
    let open = |folder: &Path, method: usize| Record::open(folder, &settings(&methods[method]));
    let refused = |folder: &Path, settings: &Settings<'_>| Record::open(folder, settings).unwrap_err();
    open(&search, 0).unwrap();
    let there = fs::read(search.join("blackbox.toml")).unwrap();
    let budget = refused(&search, &Settings { budget: 61.0, ..settings(&methods[0]) });
    assert!(budget.to_string().ends_with("holds a search with other settings: budget is 60.0, now 61.0"), "{budget}");
    assert!(budget.hint().unwrap().contains("--out"));
    let method = refused(&search, &settings(&methods[3])).to_string();
    assert!(method.contains("method.bohb.") && method.contains("is not set, now "), "{method}");
    assert_eq!(fs::read(search.join("blackbox.toml")).unwrap(), there);

    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("precious.txt"), "x").unwrap();
    let error = refused(&foreign, &settings(&methods[0])).to_string();
    assert!(error.ends_with("exists and is not the folder of a black-box search"), "{error}");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    let error = refused(&foreign.join("precious.txt"), &settings(&methods[0])).to_string();
    assert!(error.contains("precious.txt"), "{error}");

    let seed = refused(&new, &Settings { seed: u64::MAX, ..settings(&methods[0]) }).to_string();
    assert!(seed.starts_with("seed = 18446744073709551615, expected at most"), "{seed}");
    assert!(!new.exists());

    let first = open(&search, 0).unwrap();
    let error = refused(&search, &settings(&methods[0])).to_string();
    assert!(error.contains("another process is working on this run"), "{error}");
    drop(first);
    fs::write(search.join("evaluations.jsonl"), "{\"arch\":\"a\",\"level\":0,\"value\":1.0,\"cost\":1.0}\n{}\n")
        .unwrap();
    let error = refused(&search, &settings(&methods[0])).to_string();
    assert!(error.contains("evaluations.jsonl, line 2: missing field `arch`"), "{error}");

    // What a killed process has left half-written is nobody's.
    fs::create_dir(&new).unwrap();
    fs::write(new.join(".tmp-x"), "").unwrap();
    open(&new, 0).unwrap();
}
