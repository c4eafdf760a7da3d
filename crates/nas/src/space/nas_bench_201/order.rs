//! The benchmark's order of its architectures.
//!
//! NAS-Bench-201 lists all combinations (the first edge's operation changes slowest) and shuffles the list with Python's
//! `random.seed(88); random.shuffle(archs)`. Doing the same gives the index without any table.

use std::sync::LazyLock;

use super::ARCHITECTURES;
use crate::python_random::PythonRandom;

struct Order {
    /// Combination by index.
    combinations: Vec<u16>,
    /// Index by combination.
    indices: Vec<u16>,
}

static ORDER: LazyLock<Order> = LazyLock::new(|| {
    let mut combinations: Vec<u16> = (0..ARCHITECTURES as u16).collect();
    PythonRandom::new(88).shuffle(&mut combinations);
    let mut indices = vec![0; ARCHITECTURES];
    for (index, &combination) in combinations.iter().enumerate() {
        indices[usize::from(combination)] = index as u16;
    }
    Order { combinations, indices }
});

/// All combinations in the order of their index.
pub(super) fn combinations() -> &'static [u16] {
    &ORDER.combinations
}

/// The combination with this index, if there is one.
pub(super) fn combination(index: usize) -> Option<usize> {
    ORDER.combinations.get(index).map(|&c| c.into())
}

/// The index of a combination below [`ARCHITECTURES`].
pub(super) fn index(combination: usize) -> usize {
    ORDER.indices[combination].into()
}
