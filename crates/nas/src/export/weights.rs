//! Weights in the safetensors format with the network's description beside them. Names and shapes of the tensors are those of
//! the graph: `[out, in, kh, kw]` for convolutions.

use std::collections::HashMap;

use engine::{Cost, Graph};
use serde::Serialize;

use super::{ExportError, Files, Options};
use crate::retrain::{Model, Trained};

/// What stands beside the weights: the model, and enough to rebuild the network without this program.
#[derive(Serialize)]
struct Description<'a> {
    #[serde(flatten)]
    model: &'a Model,
    #[serde(flatten)]
    cost: Cost,
    graph: &'a Graph,
}

/// Both files.
pub(super) fn export(trained: &Trained, _options: &Options) -> Result<Files, ExportError> {
    let (model, graph) = (trained.model(), trained.graph());
    let description = Description { model, cost: graph.cost(), graph };
    let json = serde_json::to_vec(&description).map_err(std::io::Error::from)?;
    Ok(vec![weights(trained)?, json])
}

/// Weights and running statistics.
pub(super) fn weights(trained: &Trained) -> Result<Vec<u8>, ExportError> {
    let model = trained.model();
    let about = [("format", "pt"), ("space", &model.space), ("arch", &model.arch), ("dataset", &model.dataset)];
    let about = about.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(crate::tensors::encode(trained.tensors(), Some(HashMap::from(about)))?)
}
