//! The engine held against three independent things: an obvious-loops f64 reference network (`reference`), itself
//! checked by finite differences; numbers made by PyTorch (`../pytorch`); and its own laws (threads, resume, pruning).
//! All with every instruction set that the machine has.

mod cases;
mod compare;
mod finite_differences;
mod gradients;
mod instruction_sets;
mod laws;
mod pytorch;
mod reference;
