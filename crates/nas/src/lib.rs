//! Neural architecture search on cell-based spaces: search spaces and genotypes, data sets, tabular benchmarks,
//! training-free proxies, search strategies and the executor that runs them.
//!
//! A search on the built-in digits, as `hpe-darts search --strategy darts` runs it but for its length:
//!
//! ```
//! use hpe_darts_nas::{run::Observers, search::{Plan, Request, Search}};
//!
//! let settings = ["supernet.channels=4", "training.max_steps_per_epoch=2", "strategy.darts.epochs=2"];
//! let request = Request {
//!     strategy: Some("darts".to_owned()),
//!     threads: Some(1),
//!     set: settings.map(str::to_owned).to_vec(),
//!     ..Request::default()
//! };
//! let plan = Plan::new(request.resolve()?, None, &mut |_| {})?;
//! let engines = plan.engines();
//! let folder = tempfile::tempdir()?;
//! // The last argument stops the search, saved, once it is true; `Search::resume` goes on from there.
//! let search = Search::start(plan, engines, &folder.path().join("run"), Observers::none(), Default::default())?;
//! let outcome = search.run()?;
//! assert!(outcome.found.index.is_some_and(|index| index < 15_625), "{}", outcome.found.arch);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
