//! What a search by HPE-DARTS records is what its algorithm says.

use super::*;
use crate::{
    search::parts::{HardPrune, SoftPrune, Swept},
    supernet::PerOp,
};

/// The events of a search by HPE-DARTS with the fake engine.
fn hpe_darts_events(set: &[&str]) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    run_whole(&plan("hpe-darts", set), &run);
    let text = fs::read_to_string(run.join(EVENTS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn importance_is_what_taking_an_operation_out_costs() {
    let hard = "strategy.hpe-darts.hard_importance=params";
    let set = ["strategy.hpe-darts.soft_importance=[\"loss\", \"naswot\"]", hard];
    let mut sweeps = 0;
    for event in hpe_darts_events(&set) {
        let Some(Swept { table, .. }) = event.read() else { continue };
        sweeps += 1;
        let name = table.by.to_string();
        let sign = if name == "loss" { -1.0 } else { 1.0 };
        let measure = &table.measures[&name];
        for at in table.importance.places() {
            let cost = measure.without[at].map(|changed| sign * (measure.supernet.0 - changed.0));
            assert_eq!(table.importance[at].map(|i| i.0), cost, "{name} at {at:?}");
        }
        let expected = match &*name {
            "loss" => 128,
            "naswot" => 8,
            _ => 0,
        };
        assert_eq!(table.images, expected, "{name}");
    }
    // Two soft ones and a hard one in each of two stages.
    assert_eq!(sweeps, 6);
}

#[test]
fn every_proxy_is_an_importance_of_a_real_supernet() {
    let by = "grad-norm+snip+synflow+jacob-cov+swap+flops";
    let criteria = [
        format!("strategy.hpe-darts.soft_importance=\"{by}\""),
        format!("strategy.hpe-darts.hard_importance=\"{by}\""),
        "strategy.hpe-darts.importance.proxy_batch_size=8".to_owned(),
    ];
    let small = [
        "supernet.channels=2",
        "supernet.cells_per_stage=1",
        "training.batch_size=16",
        "training.max_steps_per_epoch=1",
    ];
    let set: Vec<&str> = criteria.iter().map(String::as_str).chain(small).collect();
    let plan = plan("hpe-darts", &set);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    Search::start(plan.clone(), plan.engines(), &run, Observers::none(), go()).unwrap().run().unwrap();
    let text = fs::read_to_string(run.join(EVENTS)).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap());
    let tables: Vec<_> = events.filter_map(|e| e.read::<Swept>()).map(|swept| swept.table).collect();
    assert!(tables.len() >= 2);
    for (table, name) in tables.iter().flat_map(|table| by.split('+').map(move |name| (table, name))) {
        let measure = &table.measures[name];
        assert!(measure.supernet.0.is_finite(), "{name}");
        let values: Vec<f64> = measure.without.values().iter().flatten().map(|v| v.0).collect();
        assert!(values.iter().any(|v| *v != measure.supernet.0), "{name}: {values:?}");
        if name == "flops" {
            assert!(values.iter().all(|v| *v <= measure.supernet.0), "{values:?}");
        }
    }
}

#[test]
fn algorithm_1_is_followed_step_by_step() {
    let set = ["strategy.hpe-darts.prune_epochs=5", "strategy.hpe-darts.alpha_update=none"];
    let events = hpe_darts_events(&set);
    let factors: Vec<f64> = events.iter().filter_map(|e| Some(e.read::<SoftPrune>()?.factor)).collect();
    let expected = [1.0, 0.8, 0.6, 0.4, 0.2];
    assert!(factors.iter().zip(expected.iter().cycle()).all(|(f, e)| (f - e).abs() < 1e-15) && factors.len() == 10);
    // With alpha untrained, what is decayed follows from the record alone.
    let mut alpha = PerOp::filled(6, 5, 0.2);
    let mut stage_ends = 0;
    let names = crate::space::nas_bench_201::OPS.map(|op| op.to_string());
    for event in &events {
        if let Some(SoftPrune { factor, decayed, .. }) = event.read() {
            for (edge, ops) in decayed.iter().enumerate() {
                assert_eq!(ops.len(), 2);
                for op in ops {
                    alpha[(edge, names.iter().position(|n| n == op).unwrap())] *= factor;
                }
            }
        } else if let Some(HardPrune { removed, left, .. }) = event.read() {
            stage_ends += 1;
            assert!(removed.iter().all(|ops| ops.len() == 2));
            assert!(left.iter().all(|ops| ops.len() == 5 - 2 * stage_ends));
            assert!(left.iter().flatten().all(|op| op != "none"));
        } else if let Some(end) = event.read::<EpochEnd>() {
            assert_eq!(end.alpha.as_ref(), Some(&alpha), "epoch {}", end.epoch);
        }
    }
    assert_eq!(stage_ends, 2);
}
