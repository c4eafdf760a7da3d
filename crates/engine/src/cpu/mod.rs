//! The CPU engine: any graph as one pass per value, forward and backward (see [`plan`]).

mod backward;
mod convolve;
mod dense;
mod forward;
mod group;
mod head;
mod network;
mod norm;
mod output;
mod padded;
mod plan;
pub(crate) mod plane;
mod pool;
mod reduce;
mod separable;
mod unit;

use std::sync::Arc;

use self::network::Network;
use crate::buffer::Ptr;
use crate::contract::{Engine, EngineInfo, Engines};
use crate::run::{Options, Run, Runtime};
use crate::{EngineError, NetworkSpec};

/// What the passes over a batch share.
pub(crate) struct Cx<'a> {
    run: Run<'a>,
    /// Mixing weights, `[R, O]`.
    w: &'a [f32],
    /// Where each source is read, and written where it is.
    x: Vec<Ptr>,
    /// The output of each unit before normalisation.
    y: Vec<Ptr>,
    /// The gradient of each source.
    g: Vec<Ptr>,
}

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
