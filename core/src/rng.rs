//! Seeded streams of randomness: every draw in ghnas comes from one of these.
//!
//! A stream is named by (study seed, purpose, index), so that draws made for one purpose never
//! shift those made for another, and any of them can be repeated alone after an interruption.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The generator of the stream named by `(seed, purpose, index)`.
///
/// ```
/// use rand::Rng;
/// let mut a = ghnas_core::rng::stream(7, "augment", 3);
/// let mut b = ghnas_core::rng::stream(7, "augment", 3);
/// assert_eq!(a.next_u64(), b.next_u64());
/// ```
pub fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(index.to_le_bytes());
    hasher.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// A seed for a part of the program that draws its own streams, such as one architecture.
pub fn derive_seed(seed: u64, purpose: &str, index: u64) -> u64 {
    use rand::Rng;
    stream(seed, purpose, index).next_u64()
}
