//! The CPU engine: any graph as one pass per value, forward and backward (see [`plan`]).

mod again;
mod assign;
mod backward;
mod buffer;
mod buffers;
mod codes;
mod convolve;
mod dense;
mod forward;
mod gather;
mod group;
mod head;
pub(crate) mod kernels;
mod memory;
mod network;
mod norm;
mod optim;
mod output;
mod padded;
mod params;
mod pass;
mod paths;
mod pieces;
mod plan;
mod plane;
mod pool;
mod reduce;
mod runtime;
mod separable;
mod simd;
mod unit;

use std::sync::Arc;

use self::network::Network;
use self::runtime::Runtime;
use crate::contract::{Engine, EngineInfo, Engines, Memory};
use crate::{EngineError, NetworkSpec};

pub use self::kernels::peak::peak_gflops;
pub use self::runtime::{Kernels, Options};
pub use self::simd::Isa;

/// Makes networks that run on the processor, all on one pool of threads.
#[derive(Clone, Debug)]
pub struct CpuEngines {
    runtime: Arc<Runtime>,
}

impl CpuEngines {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`EngineError::Threads`], [`EngineError::Simd`].
    pub fn new(options: Options) -> Result<Self, EngineError> {
        Ok(Self { runtime: Arc::new(Runtime::new(options)?) })
    }

    /// Checks that there are kernels for everything in a network.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] with the first thing that there are none for.
    pub fn supports(spec: &NetworkSpec) -> Result<(), EngineError> {
        Network::supports(spec)
    }
}

impl Engines for CpuEngines {
    fn build(&self, spec: &NetworkSpec, seed: u64) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Network::new(spec, seed, Arc::clone(&self.runtime))?))
    }

    fn memory(&self, spec: &NetworkSpec, train: usize, evaluate: usize) -> Result<Memory, EngineError> {
        memory::of(spec, train, evaluate, &self.runtime)
    }

    fn info(&self) -> EngineInfo {
        let Runtime { exec, kernels, .. } = &*self.runtime;
        EngineInfo {
            engine: "cpu",
            instruction_set: exec.isa.to_string(),
            kernels: format!("{kernels:?}").to_lowercase(),
            threads: self.runtime.threads(),
        }
    }
}
