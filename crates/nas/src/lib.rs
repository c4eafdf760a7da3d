//! Neural architecture search on cell-based spaces: search spaces and genotypes, data sets, tabular benchmarks,
//! training-free proxies, search strategies and the executor that runs them.
#![forbid(unsafe_code)]

pub mod benchmark;
pub mod compare;
pub mod data;
pub mod engines;
pub mod files;
pub mod proxy;
mod python_random;
pub mod search;
pub mod space;
pub mod strategies;
pub mod suggest;
pub mod supernet;
