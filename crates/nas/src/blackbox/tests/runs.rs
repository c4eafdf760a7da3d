use super::{super::*, ONE_LEVEL, TWO_LEVELS, defaults, problem_of};
use crate::benchmark::{BenchmarkDataset, made_up};

fn all(
    config: &MethodConfig,
    evaluator: &dyn Evaluator,
    budget: f64,
    runs: usize,
    threads: usize,
) -> Result<Vec<Outcome>, BlackboxError> {
    run_all(config, &problem_of(evaluator), evaluator, budget, (7, runs), threads, &|| {})
}

#[test]
fn outcomes_do_not_depend_on_the_threads() {
    for config in defaults() {
        let [one, four] = [1, 4].map(|threads| all(&config, &TWO_LEVELS, 100.0, 9, threads).unwrap());
        let text = |outcomes: &[Outcome]| serde_json::to_string(outcomes).unwrap();
        assert_eq!(text(&one), text(&four));
        assert_eq!(one.iter().map(|o| o.seed).collect::<Vec<_>>(), (7..16).collect::<Vec<_>>());
        // A run of many is the run of its own seed.
        let alone = run_all(&config, &problem_of(&TWO_LEVELS), &TWO_LEVELS, 100.0, (11, 1), 1, &|| {}).unwrap();
        assert_eq!(text(&alone), text(&four[4..5]));
    }
}

#[test]
fn impossible_requests_are_refused_before_the_first_run() {
    let refused = |budget, runs| all(&defaults()[0], &ONE_LEVEL, budget, runs, 1).unwrap_err().to_string();
    assert_eq!(refused(10.0, 0), "0 runs, expected at least 1");
    for budget in [0.5, 0.0, -1.0, f64::NAN] {
        let expected =
            format!("a budget of {budget} units, expected at least 1.0: an evaluation costs 1.0 to 1.0 units");
        assert_eq!(refused(budget, 1), expected);
    }
    for budget in [1e6 + 1.0, f64::INFINITY] {
        let expected = "expected at most 1000000, which pays for 1000000 of the cheapest evaluations";
        assert!(refused(budget, 1).contains(expected), "{}", refused(budget, 1));
    }
    // BOHB of the paper pays for the longest training.
    let bohb = methods::find("bohb").unwrap().configure(&[]).unwrap();
    assert!(all(&bohb, &TWO_LEVELS, 9.0, 1, 1).unwrap_err().to_string().contains("expected at least 10.0"));
    let last = run_all(&bohb, &problem_of(&TWO_LEVELS), &TWO_LEVELS, 10.0, (u64::MAX, 2), 1, &|| {}).unwrap_err();
    assert!(last.to_string().starts_with("2 runs from seed 18446744073709551615 on"), "{last}");
}

#[test]
fn the_answer_comes_from_the_longest_training() {
    let set = ["training=rungs".to_owned(), "rungs=2".to_owned()];
    let bohb = methods::find("bohb").unwrap().configure(&set).unwrap();
    for outcome in all(&bohb, &TWO_LEVELS, 60.0, 20, 2).unwrap() {
        let long: Vec<&Trial> = outcome.trials.iter().filter(|t| t.proposal.level == 1).collect();
        assert!(!long.is_empty() && long.len() < outcome.trials.len());
        assert_eq!(outcome.value, long.iter().map(|t| t.value).max_by(|a, b| a.0.total_cmp(&b.0)));
    }
}

#[test]
fn settings_are_checked_by_name_and_range() {
    let set = |name: &str, set: &str| methods::find(name)?.configure(&[set.to_owned()]);
    let error = set("reinforced", "").unwrap_err();
    assert!(error.to_string().starts_with("unknown method `reinforced`, expected random-search, "), "{error}");
    assert_eq!(error.hint().unwrap(), "did you mean `reinforce`?");
    for (name, given, expected) in [
        ("regularized-evolution", "population=0", "population = 0, expected 1 to 100000"),
        ("regularized-evolution", "sample=100001", "sample = 100001, expected 1 to 100000"),
        ("reinforce", "learning_rate=0", "learning_rate = 0, expected > 0"),
        ("reinforce", "learning_rate=1e4", "learning_rate = 10000, expected at most 1000"),
        ("reinforce", "momentum=1", "momentum = 1, expected at least 0 and less than 1"),
        ("reinforce", "initial_std=-1", "initial_std = -1, expected 0 to 1000"),
        ("bohb", "eta=1", "eta = 1, expected 2 to 10"),
        ("bohb", "rungs=7", "rungs = 7, expected 1 to 6"),
        ("bohb", "min_bandwidth=0", "min_bandwidth = 0, expected more than 0 and at most 1"),
        ("bohb", "random_fraction=1.5", "random_fraction = 1.5, expected 0 to 1"),
        ("bohb", "top_percent=100", "top_percent = 100, expected 1 to 99"),
        ("bohb", "samples=0", "samples = 0, expected 1 to 10000"),
        ("local-search", "initial=0", "initial = 0, expected 1 to 100000"),
    ] {
        let error = set(name, given).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = set("bohb", "sample=5").unwrap_err();
    assert_eq!(error.to_string(), "--set sample=5: unknown key `sample`");
    assert_eq!(error.hint().unwrap(), "did you mean `samples`?");
    assert!(set("local-search", "move=up").unwrap_err().to_string().contains("expected `best` or `first`"));
    assert!(set("random-search", "a=1").unwrap_err().to_string().contains("unknown key `a`"));
}

#[test]
fn a_summary_ranks_by_the_table_or_by_the_value() {
    let outcomes = all(&defaults()[0], &ONE_LEVEL, 5.0, 4, 1).unwrap();
    let table = made_up();
    let with = Summary::new(&outcomes, Some(&table), BenchmarkDataset::Cifar100).unwrap();
    let accuracies = with.accuracies.unwrap();
    assert_eq!(with.best.quality.unwrap().0, accuracies[3].max);
    assert!((with.evaluations.mean, with.spent.mean) == (5.0, 5.0));
    let without = Summary::new(&outcomes, None, BenchmarkDataset::Cifar10).unwrap();
    assert!(without.accuracies.is_none());
    let mut values: Vec<f64> = outcomes.iter().map(|o| o.value.unwrap().0).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!((without.best.quality.unwrap().0, without.median.quality.unwrap().0), (values[3], values[1]));
    assert!(Summary::new(&[], None, BenchmarkDataset::Cifar10).is_none());
}
