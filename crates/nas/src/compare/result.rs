use std::{fs, path::Path};

use super::blackbox::BlackboxResult;
use crate::{
    blackbox::ProxyEvaluator,
    retrain::{self, Retrained},
    run::{EVENTS, Event, Fields},
    search::{Outcome, events::EpochEnd, parts::CellsCompared},
    space::Genotype,
};

/// What a cell has come to. Accuracies are top-1 in percent; which network each is of stands in its name.
#[derive(Clone, Debug, PartialEq)]
pub struct CellResult {
    /// What was found.
    pub genotype: Genotype,
    /// The same in the notation of the space's paper.
    pub arch: String,
    /// Its index in the space's table.
    pub index: Option<usize>,
    /// Wall-clock seconds of the search on this machine, a shared warm-up counted in full.
    pub seconds: f64,
    /// Simulated seconds of a black-box search.
    pub simulated_seconds: Option<f64>,
    /// Of the supernet in the last epoch, on the batches of `D_train`.
    pub supernet_train: Option<f64>,
    /// Of the supernet in the last epoch, on the batches of `D_val` that trained alpha.
    pub supernet_valid: Option<f64>,
    /// Of the derived network with the weights that it has in the supernet, on a batch of `D_val`: where a strategy compares cells by it.
    pub inherited_valid: Option<f64>,
    /// The training of what was found, if it has ended.
    pub retrained: Option<Retrained>,
    /// Its wall-clock seconds.
    pub retraining_seconds: Option<f64>,
}

impl CellResult {
    /// Of what was found alone.
    pub(super) fn of(genotype: Genotype, arch: String, index: Option<usize>) -> Self {
        Self {
            genotype,
            arch,
            index,
            seconds: 0.0,
            simulated_seconds: None,
            supernet_train: None,
            supernet_valid: None,
            inherited_valid: None,
            retrained: None,
            retraining_seconds: None,
        }
    }

    /// Of a search by a supernet and its record.
    pub(super) fn of_search(outcome: &Outcome) -> Self {
        let found = &outcome.found;
        let last: Option<EpochEnd> = last_event(&outcome.folder);
        let compared: Option<CellsCompared> = last_event(&outcome.folder);
        let own = |compared: CellsCompared| {
            let at = compared.cells.iter().position(|cell| *cell == found.arch)?;
            compared.accuracy.get(at).map(|a| a.0)
        };
        Self {
            seconds: outcome.total_seconds(),
            supernet_train: last.as_ref().map(|e| e.supernet_train_accuracy.0),
            supernet_valid: last.and_then(|e| e.supernet_valid_accuracy).map(|a| a.0),
            inherited_valid: compared.and_then(own),
            ..Self::of(found.genotype.clone(), found.arch.clone(), found.index)
        }
    }

    /// With the training of what was found.
    pub(super) fn with_retraining(self, outcome: &retrain::Outcome) -> Self {
        let retraining_seconds = Some(outcome.total_seconds());
        Self { retrained: Some(outcome.found.clone()), retraining_seconds, ..self }
    }
}

impl From<BlackboxResult> for CellResult {
    fn from(result: BlackboxResult) -> Self {
        let simulated = (result.unit != ProxyEvaluator::UNIT).then_some(result.spent);
        Self {
            seconds: result.seconds,
            simulated_seconds: simulated,
            ..Self::of(result.genotype, result.arch, result.index)
        }
    }
}

/// The last event of a kind in a record.
fn last_event<F: Fields>(run: &Path) -> Option<F> {
    let text = fs::read_to_string(run.join(EVENTS)).ok()?;
    let kind = format!("\"event\":\"{}\"", F::KIND);
    text.lines()
        .rev()
        .filter(|line| line.contains(&kind))
        .find_map(|line| serde_json::from_str::<Event>(line).ok()?.read())
}
