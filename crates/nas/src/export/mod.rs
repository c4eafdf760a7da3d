//! From a network to a file that other programs read.
//!
//! [`FORMATS`] lists the formats; each has a file here. Those of trained networks walk the graph of a [`Trained`].

mod genotype;
mod onnx;
mod pytorch;
mod weights;

use std::io;

use crate::{
    retrain::Trained,
    space::{Genotype, SearchSpace, SpaceError},
};

/// A format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence for lists.
    pub about: &'static str,
    /// How names of its files end.
    pub ending: &'static str,
    /// What makes it.
    pub writer: Writer,
}

/// What makes a format.
#[derive(Clone, Copy, Debug)]
pub enum Writer {
    /// One text, of any architecture.
    Architecture(fn(&dyn SearchSpace, &Genotype) -> Result<String, SpaceError>),
    /// Files of a trained network.
    Network {
        /// What is in them, the format's own first.
        write: fn(&Trained, &Options) -> Result<Files, ExportError>,
        /// How the names of the others end, which stand beside it.
        beside: &'static [&'static str],
        /// Whether it takes [`Options`].
        options: bool,
    },
}

/// Every format that needs no drawing.
pub static FORMATS: [Format; 5] = [
    Format {
        name: "onnx",
        about: "the trained network for onnxruntime and others: one file, any batch",
        ending: "onnx",
        writer: Writer::Network { write: onnx::export, beside: &[], options: true },
    },
    Format {
        name: "safetensors",
        about: "weights, and beside them a JSON description with the whole graph; `predict` takes both",
        ending: "safetensors",
        writer: Writer::Network { write: weights::export, beside: &["json"], options: false },
    },
    Format {
        name: "pytorch",
        about: "a Python file that defines and runs the network in PyTorch, with its weights beside it",
        ending: "py",
        writer: Writer::Network { write: pytorch::export, beside: &["safetensors"], options: false },
    },
    Format {
        name: "genotype",
        about: "the architecture in the notation of its space's paper",
        ending: "txt",
        writer: Writer::Architecture(genotype::text),
    },
    Format {
        name: "genotype-json",
        about: "the architecture as JSON, edge by edge",
        ending: "json",
        writer: Writer::Architecture(genotype::json),
    },
];

/// What is in the files of an export.
pub type Files = Vec<Vec<u8>>;

/// What can be chosen about a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Batch normalisation becomes a part of the convolution before it.
    pub fold_bn: bool,
    /// The network takes pixels in `[0, 1]` and normalises them itself.
    pub with_normalisation: bool,
}

/// Why a network cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A part of a network that a format has no words for.
    #[error("the format {format} has nothing for {part}")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// The part.
        part: String,
    },
    /// The bytes of a file cannot be made.
    #[error("cannot write the weights: {0}")]
    Encode(#[from] io::Error),
}

impl ExportError {
    fn unsupported(format: &'static str, part: String) -> Self {
        Self::Unsupported { format, part }
    }
}
