//! The primitives of a network: forward, backward, what each keeps.

pub(crate) mod cell;
pub(crate) mod conv;
pub(crate) mod head;
pub(crate) mod norm;
pub(crate) mod residual;
pub(crate) mod stem;
