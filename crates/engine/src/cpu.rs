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
