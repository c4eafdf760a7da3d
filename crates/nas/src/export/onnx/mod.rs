//! ONNX: the layers that the outputs depend on, one node for each part of a unit.

mod build;
mod proto;

use prost::Message;
use serde_json::json;

use self::{
    build::Builder,
    proto::{Entry, Graph, Model, OperatorSet, ValueInfo},
};
use super::{ExportError, Files, Options};
use crate::retrain::Trained;

/// Operator set; onnxruntime has read it since 1.20 (2024).
const OPSET: i64 = 21;
/// The file format's version that goes with it.
const IR: i64 = 10;
/// Name of the input.
const INPUT: &str = "image";
/// Name of the output.
const OUTPUT: &str = "logits";

/// The network as one ONNX file.
pub(super) fn export(trained: &Trained, options: &Options) -> Result<Files, ExportError> {
    let model = trained.model();
    let image = model.image;
    let pixels = if image.channels == 3 { "red, green, blue, " } else { "" };
    let input = if options.with_normalisation {
        format!("float32 [batch, channels, height, width]: {pixels}pixels 0 to 1")
    } else {
        format!("float32 [batch, channels, height, width]: {pixels}(pixels 0 to 1 - mean) / std")
    };
    let mut builder = Builder::new(trained, options.fold_bn, INPUT, OUTPUT);
    if options.with_normalisation {
        builder.normalise(&model.normalisation);
    }
    builder.network()?;
    let (node, initializer) = builder.finish();
    let output = "float32 [batch, classes]: outputs before softmax".to_owned();
    let graph = Graph {
        node,
        name: "network".to_owned(),
        initializer,
        input: vec![ValueInfo::batch(INPUT, &[image.channels, image.height, image.width], input.clone())],
        output: vec![ValueInfo::batch(OUTPUT, &[model.classes.len()], output)],
    };
    let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
    let file = Model {
        ir_version: IR,
        producer_name: "hpe-darts".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!("{} trained on {}", model.arch, model.dataset),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![
            entry("classes", json!(model.classes).to_string()),
            entry("mean", json!(model.normalisation.mean).to_string()),
            entry("std", json!(model.normalisation.std).to_string()),
            entry("input", input),
            entry("normalisation_in_graph", options.with_normalisation.to_string()),
            entry("model", json!(model).to_string()),
        ],
    };
    Ok(vec![file.encode_to_vec()])
}
