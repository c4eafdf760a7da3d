use super::{super::*, ONE_LEVEL, TWO_LEVELS, defaults, problem, problem_of};

fn run(config: &MethodConfig, evaluator: &dyn Evaluator, budget: f64, seed: u64) -> Run {
    let mut run = Run::new(config, &problem_of(evaluator), seed);
    run.complete(evaluator, budget).unwrap();
    run
}

fn best(run: &Run) -> f64 {
    run.trials().iter().map(|t| t.value.0).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn a_seed_decides_everything() {
    for config in defaults() {
        let [one, again, other] = [3, 3, 4].map(|seed| run(&config, &TWO_LEVELS, 300.0, seed));
        assert_eq!(one.trials(), again.trials(), "{}", config.name());
        assert_ne!(one.trials(), other.trials(), "{}", config.name());
        assert!(one.spent() <= 300.0 && one.trials().iter().map(|t| t.cost).sum::<f64>() == one.spent());
    }
}

/// Best values of 40 runs of a method.
fn best_values(name: &str, set: &[&str], budget: f64) -> Vec<f64> {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let config = methods::find(name).unwrap().configure(&set).unwrap();
    (0..40).map(|seed| best(&run(&config, &ONE_LEVEL, budget, seed))).collect()
}

#[test]
fn methods_that_learn_find_the_optimum_more_often_than_random_search() {
    let found = |name, set: &[&str]| best_values(name, set, 300.0).into_iter().filter(|&value| value == 6.0).count();
    let counts = [
        found("random-search", &[]),
        found("regularized-evolution", &[]),
        found("local-search", &[]),
        found("reinforce", &["learning_rate=0.3"]),
    ];
    let [random, others @ ..] = counts;
    // Uniform draws find it in 2 % of the runs: 6 of 40 have a chance of one in ten thousand.
    assert!(random <= 4 && others.iter().all(|&n| n >= 6), "{counts:?}");
}

/// Its bandwidths come from the numbers of categories, which have no order, so it learns slowly: the best of 150 evaluations is better,
/// if seldom the optimum.
#[test]
fn bohb_finds_better_ones_than_random_search() {
    let mean = |name, set: &[&str]| best_values(name, set, 150.0).iter().sum::<f64>() / 40.0;
    let (random, bohb) = (mean("random-search", &[]), mean("bohb", &["samples=24", "rungs=1"]));
    assert!(bohb > random + 0.2, "{bohb}, random search {random}");
}

#[test]
fn every_method_runs_on_every_space_and_bears_minus_infinity() {
    #[derive(Debug)]
    struct Singular;
    impl Evaluator for Singular {
        fn levels(&self) -> Levels {
            Levels { count: 1, usual: 0 }
        }
        fn unit(&self) -> &'static str {
            "units"
        }
        fn costs(&self, _level: usize) -> (f64, f64) {
            (1.0, 1.0)
        }
        fn evaluate(&self, genotype: &crate::space::Genotype, _level: usize) -> Result<Evaluation, BlackboxError> {
            let ops = genotype.cells.iter().flat_map(|c| &c.edges).map(|e| e.op.as_str().len()).sum::<usize>();
            let value = if ops % 3 == 0 { f64::NEG_INFINITY } else { ops as f64 };
            Ok(Evaluation { value, cost: 1.0 })
        }
    }
    for config in defaults() {
        for &space in crate::space::all() {
            let problem = Problem { domain: std::sync::Arc::new(Domain::new(space)), ..problem() };
            let mut run = Run::new(&config, &problem, 5);
            assert_eq!(run.complete(&Singular, 120.0).unwrap(), End::Budget);
            assert_eq!(run.trials().len(), 120);
            problem.domain.genotype(&run.answer().unwrap()).unwrap();
        }
    }
}
