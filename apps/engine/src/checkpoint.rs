//! Checkpoints of the weight generator: a safetensors file that any tool can open.
//!
//! The generator's tensors are the file's tensors. Everything else is one JSON text in the
//! metadata entry `ghnas`, because several entries would come out in no fixed order.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ghnas_core::{GeneratorState, StateTensor};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::error::EngineError;
use crate::tensor::Tensor;

/// The version of the metadata that this release writes and reads.
const FORMAT: u32 = 1;

/// The metadata entry.
const METADATA: &str = "ghnas";

/// A weight generator between two steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The generator.
    pub state: GeneratorState,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    format: u32,
    step: u64,
    config: String,
    /// Of step, entries and tensors; in hexadecimal.
    sha256: String,
    entries: BTreeMap<String, String>,
}

/// Replaces the checkpoint at `path`. `config` is the digest of the study's configuration.
///
/// # Errors
/// [`EngineError::Write`] where the file cannot be written; the one before is still there then.
pub(crate) fn write(path: &Path, checkpoint: &Checkpoint, config: &str) -> Result<(), EngineError> {
    let Checkpoint { step, state } = checkpoint;
    let tensors = state
        .tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), Tensor::of(&tensor.shape, &tensor.data)));
    let tensors: BTreeMap<&str, Tensor<'_>> = tensors.collect();
    let metadata = Metadata {
        format: FORMAT,
        step: *step,
        config: config.into(),
        sha256: digest(*step, &state.entries, &tensors),
        entries: state.entries.clone(),
    };
    let text = serde_json::to_string(&metadata).expect("metadata is plain data");
    let bytes = safetensors::serialize(&tensors, Some(HashMap::from([(METADATA.into(), text)])))
        .map_err(|error| EngineError::write(path, std::io::Error::other(error.to_string())))?;
    atomic::replace_file(path, &bytes)
}

/// The checkpoint at `path`, nothing where there is none.
///
/// # Errors
/// [`EngineError::Checkpoint`] where the file is damaged, foreign or of another configuration.
pub(crate) fn read(path: &Path, config: &str) -> Result<Option<Checkpoint>, EngineError> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes, config)
            .map(Some)
            .map_err(|reason| EngineError::Checkpoint { path: path.into(), reason }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::read(path, error)),
    }
}

fn parse(bytes: &[u8], config: &str) -> Result<Checkpoint, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("damaged or truncated ({error})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
    let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let text = text.ok_or("not written by ghnas")?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    if metadata.format != FORMAT {
        return Err(format!("format {}, where this release reads {FORMAT}", metadata.format));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor '{name}' is {:?}, expected F32", view.dtype()));
        }
        tensors.insert(name, view);
    }
    let tensors = tensors.iter().map(|(name, view)| {
        (name.as_str(), Tensor { shape: view.shape(), bytes: Cow::Borrowed(view.data()) })
    });
    let tensors: BTreeMap<&str, Tensor<'_>> = tensors.collect();
    if digest(metadata.step, &metadata.entries, &tensors) != metadata.sha256 {
        return Err("damaged (its SHA-256 sum is another)".into());
    }
    if metadata.config != config {
        return Err("written by a study with another configuration".into());
    }
    let tensors = tensors.iter().map(|(&name, tensor)| {
        (name.into(), StateTensor { shape: tensor.shape.into(), data: tensor.values() })
    });
    let state = GeneratorState { tensors: tensors.collect(), entries: metadata.entries };
    Ok(Checkpoint { step: metadata.step, state })
}

fn digest(
    step: u64,
    entries: &BTreeMap<String, String>,
    tensors: &BTreeMap<&str, Tensor<'_>>,
) -> String {
    let mut hasher = Sha256::new();
    // Lengths come first, so that no two contents are one text.
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(&step.to_le_bytes());
    for (name, value) in entries {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    for (name, tensor) in tensors {
        part(name.as_bytes());
        part(format!("{:?}", tensor.shape).as_bytes());
        part(&tensor.bytes);
    }
    hex(&hasher.finalize())
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let tensor = |data: [f32; 4]| StateTensor { shape: vec![2, 2], data: data.into() };
        let tensors = [
            ("gru.weight", tensor([1.5, -0.0, f32::MIN_POSITIVE, 3.0e38])),
            ("moment", tensor([0.1, 0.2, 0.3, 0.4])),
            ("none", StateTensor { shape: vec![0, 4], data: Vec::new() }),
        ];
        let entries = [("rounds", "5"), ("adam_step", "17"), ("names", "a \"quoted\" one")];
        Checkpoint {
            step: 17,
            state: GeneratorState {
                tensors: tensors.map(|(name, tensor)| (name.into(), tensor)).into(),
                entries: entries.map(|(name, value)| (name.into(), value.into())).into(),
            },
        }
    }

    fn written() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("generator.safetensors");
        write(&path, &checkpoint(), "abc").unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "no temporary file is left over");
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        assert_eq!(parse(&written(), "abc").unwrap(), checkpoint());
        assert_eq!(written(), written(), "the same bytes each time");
    }

    #[test]
    fn a_truncated_or_changed_file_is_refused() {
        let bytes = written();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length], "abc").is_err(), "the first {length} bytes");
        }
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert!(parse(&bytes, "abc").is_err(), "byte {place} changed");
        }
    }

    #[test]
    fn another_study_or_program_is_named() {
        let error = parse(&written(), "abd").unwrap_err();
        assert!(error.contains("another configuration"), "{error}");
        let foreign = safetensors::serialize(
            [("x", &Tensor { shape: &[0], bytes: Cow::Borrowed(&[]) })],
            None,
        );
        let error = parse(&foreign.unwrap(), "abc").unwrap_err();
        assert!(error.contains("not written by ghnas"), "{error}");
    }
}
