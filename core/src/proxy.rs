//! Scores that need no trained weights: zero-cost proxies.

use crate::executor::Images;
use crate::network::Network;

/// Why a network has no score of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProxyError(pub String);

/// Scores a network from its structure, or from how freshly drawn weights respond to one batch.
///
/// A function of the network, the batch, the seed and the settings it was built with.
pub trait Proxy: Send {
    /// The score; the greater, the better the network is held to be. `images` is the batch to look
    /// at; none of its labels are known here.
    ///
    /// # Errors
    /// [`ProxyError`] says why the network has no score.
    fn score(&mut self, network: &Network, images: Images<'_>) -> Result<f64, ProxyError>;
}
