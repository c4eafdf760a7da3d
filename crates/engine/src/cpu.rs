//! The CPU engine's factory.

use std::sync::Arc;

use crate::contract::{Engine, EngineInfo, Engines};
use crate::network::Network;
use crate::run::{Options, Runtime};
use crate::{EngineError, NetworkSpec};

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
