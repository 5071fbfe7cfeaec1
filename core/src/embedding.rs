//! Vectors that stand for networks and architectures: what a weight generator knows of a network,
//! and what a searcher learns from.

use std::sync::Arc;

use crate::architecture::Architecture;
use crate::generator::GeneratorError;
use crate::network::Network;

/// Embeds networks: a capability of some weight generators
/// ([`WeightGenerator::embed`](crate::WeightGenerator::embed)).
pub trait Embed {
    /// The embedding of `network`, whose length is the same for every network. As
    /// [`predict`](crate::WeightGenerator::predict), a generator that averages its parameters over
    /// training makes it from the average.
    ///
    /// # Errors
    /// Where the network has nothing to embed, or the device fails.
    fn embedding(&mut self, network: &Network) -> Result<Vec<f32>, GeneratorError>;
}

/// Why no architecture can be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("embeddings: {0}")]
pub struct EncoderError(pub String);

/// Encodes architectures as vectors, for a searcher that learns from them.
///
/// ```
/// use std::sync::Arc;
///
/// use ghnas_core::{Architecture, Encoder, EncoderError};
///
/// /// How many nodes there are.
/// struct Size;
///
/// impl Encoder for Size {
///     fn encode(&self, arch: &Architecture) -> Result<Option<Arc<[f32]>>, EncoderError> {
///         let nodes: usize = arch.motifs().iter().map(|motif| motif.nodes().len()).sum();
///         Ok(Some([nodes as f32].into()))
///     }
/// }
///
/// let empty = Architecture::new("none", vec![]);
/// assert_eq!(Size.encode(&empty).unwrap().unwrap()[..], [0.0]);
/// ```
pub trait Encoder: Send + Sync {
    /// The vector of `arch`, whose length is the same for every architecture; a function of the
    /// architecture alone, and the same for isomorphic ones. Nothing where the architecture has no
    /// vector, such as one without a network.
    ///
    /// # Errors
    /// [`EncoderError`] says why there are no vectors.
    fn encode(&self, arch: &Architecture) -> Result<Option<Arc<[f32]>>, EncoderError>;
}
