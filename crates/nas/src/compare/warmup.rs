use std::path::Path;

use super::cell::Cell;
use crate::{
    run::{self, CONFIG, Keep},
    search::{Config, fit, is_past},
};

/// The warm-up of a search: its epochs, and the settings that determine it.
pub(super) fn warmup(config: &Config) -> Option<(usize, Config)> {
    let (epochs, strategy) = config.strategy.warmup().filter(|(epochs, _)| *epochs > 0)?;
    let mut config = Config { strategy, ..config.decisive() };
    // The data may have moved.
    config.data.dir = None;
    Some((epochs, config))
}

/// Whether the run in a folder has trained this warm-up and keeps it. A folder may hold another search than its settings in
/// the file say by now.
pub(super) fn has_trained(run: &Path, wanted: &(usize, Config)) -> bool {
    let of_run = || {
        let mut config = Config::read(&run.join(CONFIG)).ok()?;
        fit(&mut config).ok()?;
        warmup(&config)
    };
    run::keeps(run, wanted.0) && of_run().as_ref() == Some(wanted)
}

/// Lets searches that begin with the same warm-up share it: the first one that has trained and kept it, or else the first
/// one that comes to its end yet.
pub(super) fn share_warmups(cells: &mut [Cell]) {
    let warmups: Vec<_> = cells.iter().map(|cell| warmup(&cell.one_shot()?.config)).collect();
    for (first, own) in warmups.iter().enumerate() {
        let Some(own) = own.as_ref().filter(|_| !warmups[..first].contains(own)) else { continue };
        let same: Vec<usize> = (first..cells.len()).filter(|&i| warmups[i].as_ref() == Some(own)).collect();
        let has_it = same.iter().find(|&&i| has_trained(&cells[i].folder, own));
        let will = || same.iter().find(|&&i| !is_past(&cells[i].folder, own.0));
        let Some(&trains) = has_it.or_else(will) else { continue };
        for &i in same.iter().filter(|&&i| i != trains) {
            if let Some(search) = cells[i].one_shot_mut() {
                search.warmup = Some((trains, own.0));
            }
            if let Some(search) = cells[trains].one_shot_mut() {
                search.config.run.keep_epochs = Keep::ALL;
            }
        }
    }
}
