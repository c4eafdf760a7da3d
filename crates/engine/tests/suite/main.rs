//! The engine held against three independent things: the crate's second engine, in f64 (`reference`), itself
//! checked by finite differences; numbers made by PyTorch (`../pytorch`); and laws: its own (threads, kernels), and those
//! of every engine (`conformance`), which the reference keeps as well. All with every instruction set that the machine has.

mod cases;
mod compare;
mod conformance;
mod finite_differences;
mod gradients;
mod graph;
mod instruction_sets;
mod laws;
mod pytorch;
