/// What the engine refuses, with the value that was given.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum EngineError {
    /// A network specification that describes no network.
    #[error("network specification: {0}")]
    Spec(String),
    /// A network or a pass that this engine has no kernels for.
    #[error("the CPU engine cannot compute {0} yet")]
    Unsupported(String),
    /// Input whose shape does not fit the network.
    #[error("{what} has {got} values, expected {expected}")]
    Shape {
        /// Which input.
        what: &'static str,
        /// The length that was given.
        got: usize,
        /// The length that fits.
        expected: usize,
    },
    /// A class label that the head has no output for.
    #[error("label {label} of sample {sample} is out of range: the network has {classes} classes (0..={max})", max = .classes - 1)]
    Label {
        /// Position in the batch.
        sample: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A rate of drop-path that is not a probability below 1.
    #[error("the drop-path rate is {rate}, expected 0 or more and less than 1")]
    Rate {
        /// The rate.
        rate: f32,
    },
    /// An instruction set in `HPE_DARTS_SIMD` that is not to be had.
    #[error("HPE_DARTS_SIMD is `{wish}`, expected one of those that this machine can run: {available}")]
    Simd {
        /// What the variable says.
        wish: String,
        /// The instruction sets of this machine.
        available: String,
    },
    /// A saved tensor that does not fit the network.
    #[error("saved state: {0}")]
    State(String),
    /// A saved vector that was never written.
    #[error("no vector has been saved under the number {number}")]
    NoVector {
        /// The number.
        number: u8,
    },
    /// The thread pool could not be made.
    #[error("cannot start {threads} threads: {why}")]
    Threads {
        /// Requested threads.
        threads: usize,
        /// The reason given by the system.
        why: String,
    },
}
