//! A weight generator's state as bytes: the safetensors format, f32, with the entries as its
//! metadata. Equal states have equal bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use ghnas_core::{GeneratorState, StateTensor};
use safetensors::{Dtype, SafeTensors, View};

struct Values<'a>(&'a StateTensor);

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.0.data.len() * size_of::<f32>()
    }
}

/// The state as bytes.
///
/// # Errors
/// In words, where a tensor's shape does not fit its values.
pub fn encode(state: &GeneratorState) -> Result<Vec<u8>, String> {
    let tensors = state.tensors.iter().map(|(name, tensor)| (name, Values(tensor)));
    // The format's metadata is a hash map; one text in it keeps the bytes in order.
    let entries = serde_json::to_string(&state.entries).map_err(|error| error.to_string())?;
    let metadata = HashMap::from([(ENTRIES.to_string(), entries)]);
    safetensors::serialize(tensors, Some(metadata)).map_err(|error| error.to_string())
}

/// The state that `bytes` hold.
///
/// # Errors
/// In words, what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<GeneratorState, String> {
    let words = |error: safetensors::SafeTensorError| error.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(words)?;
    let entries = match header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRIES)) {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| format!("its entries: {error}"))?
        }
        None => return Err(format!("its metadata has no '{ENTRIES}'")),
    };
    let mut state = GeneratorState { entries, ..GeneratorState::default() };
    for (name, view) in SafeTensors::deserialize(bytes).map_err(words)?.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor '{name}' is of type {:?}, not F32", view.dtype()));
        }
        let values = view.data().chunks_exact(size_of::<f32>());
        let data = values.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let tensor = StateTensor { shape: view.shape().into(), data: data.collect() };
        state.tensors.insert(name.into(), tensor);
    }
    Ok(state)
}

/// The key of the metadata that holds all entries, as a JSON object.
const ENTRIES: &str = "entries";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_to_the_bit_and_damage_is_named() {
        let mut state = GeneratorState::default();
        let data = vec![f32::MIN_POSITIVE / 2.0, -0.0, 1.0 / 3.0];
        state.tensors.insert("a".into(), StateTensor { shape: vec![3], data });
        state.tensors.insert("b".into(), StateTensor { shape: vec![0, 2], data: vec![] });
        state.entries.insert("steps".into(), "12".into());
        state.entries.insert("more".into(), "\"quoted\"".into());
        let bytes = encode(&state).unwrap();
        let again = decode(&bytes).unwrap();
        assert_eq!(again, state);
        assert_eq!(again.tensors["a"].data[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(encode(&again).unwrap(), bytes);
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(b"garbage").is_err());
    }
}
