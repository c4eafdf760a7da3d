//! Checks of settings that several methods have.

use super::{AdamConfig, edges::Incoming};
use crate::search::{Candidates, Unsuitable};

/// Writes out what 0 stands for (the source's `epochs` for a space that keeps all edges, and for one that does not, as the
/// DARTS space), so that a search has epochs.
pub fn epochs(epochs: &mut usize, candidates: &Candidates, [keeps_all, keeps_some]: [usize; 2]) {
    if *epochs == 0 {
        *epochs = if Incoming::of(candidates.space()).is_empty() { keeps_all } else { keeps_some };
    }
}

/// Refuses a warm-up that leaves no epoch to train alpha in.
///
/// # Errors
/// Both numbers.
pub fn warmup(warmup_epochs: usize, epochs: usize) -> Result<(), Unsuitable> {
    if epochs > warmup_epochs {
        return Ok(());
    }
    Err(Unsuitable::new(
        format!("warmup_epochs = {warmup_epochs} leave no epoch of {epochs} to train alpha in"),
        "warmup_epochs must be less than epochs",
    ))
}

/// Refuses a number that is not one, or less than this.
///
/// # Errors
/// Name and value.
pub fn at_least(name: &str, value: f64, least: f64) -> Result<(), Unsuitable> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(Unsuitable::new(format!("{name} = {value}, expected at least {least}"), "omit it to use the default"))
}

/// Refuses a number that is not more than 0.
///
/// # Errors
/// Name and value.
pub fn positive(name: &str, value: f64) -> Result<(), Unsuitable> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Unsuitable::new(format!("{name} = {value}, expected more than 0"), "omit it to use the default"))
}

/// Refuses settings of alpha's optimiser that are out of range.
///
/// # Errors
/// Name and value.
pub fn optimiser(config: &AdamConfig) -> Result<(), Unsuitable> {
    match config.fault() {
        Some(fault) => Err(Unsuitable::new(format!("alpha_optimiser: {fault}"), "omit it to use the default")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Darts, NasBench201};

    #[test]
    fn epochs_are_those_of_the_space_unless_given() {
        for (space, given, expected) in [
            (Candidates::all(&NasBench201), 0, 100),
            (Candidates::all(&Darts::Original), 0, 50),
            (Candidates::all(&Darts::Original), 7, 7),
        ] {
            let mut written = given;
            epochs(&mut written, &space, [100, 50]);
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn what_is_out_of_range_is_named_with_its_value() {
        assert_eq!(warmup(50, 50).unwrap_err().why, "warmup_epochs = 50 leave no epoch of 50 to train alpha in");
        assert_eq!(at_least("lambda", -1.0, 0.0).unwrap_err().why, "lambda = -1, expected at least 0");
        assert_eq!(positive("epsilon", 0.0).unwrap_err().why, "epsilon = 0, expected more than 0");
        assert!(at_least("lambda", f64::INFINITY, 0.0).is_err() && positive("epsilon", f64::NAN).is_err());
        assert_eq!((warmup(0, 1), at_least("lambda", 0.0, 0.0), positive("epsilon", 1e-9)), (Ok(()), Ok(()), Ok(())));
    }
}
