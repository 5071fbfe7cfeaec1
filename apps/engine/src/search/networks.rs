//! Scores by network, so that architectures which a space has one network for share one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// What networks were scored.
pub(super) struct ScoredNetworks<S> {
    /// By the SHA-256 of the networks as JSON.
    scores: Mutex<HashMap<[u8; 32], S>>,
}

impl<S: Copy> ScoredNetworks<S> {
    pub(super) fn new() -> Self {
        Self { scores: Mutex::default() }
    }

    /// The score of a network, or of several together: that of equal ones, or what `score` gives.
    /// Two threads that ask for equal ones at once score both.
    pub(super) fn score<E>(
        &self,
        networks: &impl Serialize,
        score: impl FnOnce() -> Result<S, E>,
    ) -> Result<S, E> {
        let json = serde_json::to_vec(networks).expect("a network is plain data");
        let key = Sha256::digest(json).into();
        let scores = || self.scores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = scores().get(&key) {
            return Ok(*known);
        }
        let score = score()?;
        scores().insert(key, score);
        Ok(score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::ScoreError;
    use crate::toy;

    #[test]
    fn equal_networks_are_scored_once() {
        let parts = toy::parts(&toy::config(&[]));
        let network = |ops: &[&str]| parts.space.lower(&toy::chain(ops), parts.task()).unwrap();
        let known = ScoredNetworks::new();
        let give = |score: f64| Ok::<f64, ScoreError>(score);
        assert_eq!(known.score(&network(&["wide"]), || give(1.0)).unwrap(), 1.0);
        let again = known.score::<ScoreError>(&network(&["wide"]), || panic!("it is known"));
        assert_eq!(again.unwrap(), 1.0);
        assert_eq!(known.score(&network(&["narrow"]), || give(2.0)).unwrap(), 2.0);
        // What failed is tried again.
        let fails = known.score(&network(&["wide", "wide"]), || Err(ScoreError::NotFinite));
        assert!(fails.is_err());
        assert_eq!(known.score(&network(&["wide", "wide"]), || give(3.0)).unwrap(), 3.0);
    }
}
