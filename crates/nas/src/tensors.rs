//! Named tensors in the safetensors format, of checkpoints and of exported networks.

use std::{collections::HashMap, io};

use engine::TensorState;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// The bytes of a file. `metadata`: what its header says beside the tensors.
pub(crate) fn encode<'a>(
    tensors: impl IntoIterator<Item = &'a TensorState>,
    metadata: Option<HashMap<String, String>>,
) -> io::Result<Vec<u8>> {
    let bytes = |t: &TensorState| t.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let tensors: Vec<_> = tensors.into_iter().map(|t| (t, bytes(t))).collect();
    let views = tensors.iter().map(|(t, bytes)| {
        let view = TensorView::new(Dtype::F32, t.shape.clone(), bytes).map_err(io::Error::other)?;
        Ok((t.name.as_str(), view))
    });
    let views = views.collect::<io::Result<Vec<_>>>()?;
    safetensors::serialize(views, metadata).map_err(io::Error::other)
}

/// The tensors of a file, in any order.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<TensorState>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let tensor = |(name, view): (String, TensorView<'_>)| {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is {:?}, expected F32", view.dtype()));
        }
        let (values, _) = view.data().as_chunks::<4>();
        let data = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        Ok(TensorState { name, shape: view.shape().to_vec(), data })
    };
    file.tensors().into_iter().map(tensor).collect()
}
