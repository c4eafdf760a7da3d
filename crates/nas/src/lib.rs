//! Neural architecture search on cell-based spaces: search spaces and genotypes, data sets, tabular benchmarks,
//! training-free proxies, search strategies and the executor that runs them.
#![forbid(unsafe_code)]

pub mod benchmark;
pub mod blackbox;
mod checksum;
pub mod compare;
pub mod data;
mod eigen;
pub mod engines;
pub mod escape;
pub mod export;
pub mod files;
mod here;
mod learning_rate;
pub mod limits;
pub mod memory;
pub mod numbers;
pub mod paper;
pub mod proxy;
mod python_random;
mod random;
pub mod retrain;
pub mod run;
pub mod search;
pub mod sniff;
pub mod space;
pub mod suggest;
pub mod supernet;
mod tables;
mod tensors;

pub use here::Here;
