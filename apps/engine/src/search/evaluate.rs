//! One candidate's evaluation: its network, lowered and scored, or trained from scratch before where
//! the candidate was promoted.

use std::collections::BTreeMap;

use ghnas_core::{Architecture, Network, SearchSpace, SpaceError, Task};

use super::command::Asked;
use super::networks::ScoredNetworks;
use super::rungs::Rungs;
use crate::error::EngineError;
use crate::lowering::{Lowered, Lowering};
use crate::observer::Interrupt;
use crate::scorer::{Score, ScoreError, Scorer};
use crate::store::CandidateState;

/// What identifies a score: the architecture's hash and the rung.
pub(super) type Key = (String, u32);

/// What evaluations share.
pub(super) struct Evaluator<'a> {
    pub(super) lowering: Lowering<'a>,
    /// Scores what is trained from scratch.
    pub(super) scorer: Scorer,
    /// Nothing where candidates are evaluated at rung 0 alone.
    pub(super) rungs: Option<Rungs<'a>>,
    /// What was evaluated so far, so that nothing is twice.
    pub(super) known: BTreeMap<Key, CandidateState>,
    /// Of other architectures, by their networks.
    pub(super) networks: ScoredNetworks<Score>,
}

impl Asked {
    pub(super) fn key(&self) -> Key {
        (self.arch.hash().to_string(), self.rung)
    }
}

impl Evaluator<'_> {
    /// Whether there is such a rung.
    pub(super) fn has(&self, rung: u32) -> bool {
        rung as usize <= self.rungs.as_ref().map_or(0, Rungs::count)
    }

    /// Evaluates what was asked for, at rung 0 with `score`; nothing where training was
    /// interrupted. There must be [such a rung](Self::has).
    ///
    /// # Errors
    /// As [`score_one`], and what fails in training.
    pub(super) fn evaluate(
        &self,
        asked: &Asked,
        what: impl Fn() -> String,
        interrupt: &Interrupt,
        score: impl FnOnce(&Lowered) -> Result<Score, ScoreError>,
    ) -> Result<Option<CandidateState>, EngineError> {
        let Asked { arch, rung } = asked;
        let rungs = match &self.rungs {
            Some(rungs) if *rung > 0 => rungs,
            _ => {
                let score = |it: &Lowered| self.networks.score(it, || score(it));
                return score_one(self.lowering, arch, what, score).map(Some);
            }
        };
        let Lowering { space, task, .. } = self.lowering;
        match lower_one(space, arch, task, &what)? {
            Ok(network) => rungs.evaluate(network, *rung, what, &self.scorer, interrupt),
            Err(words) => Ok(Some(CandidateState::Failed(words))),
        }
    }
}

/// Lowers an architecture and scores it with `score`. The error is one of the device, or of a space
/// or generator that is broken; the architecture's own is in the state.
pub(super) fn score_one(
    lowering: Lowering<'_>,
    arch: &Architecture,
    what: impl Fn() -> String,
    score: impl FnOnce(&Lowered) -> Result<Score, ScoreError>,
) -> Result<CandidateState, EngineError> {
    let lowered = match in_words(lowering.lower(arch), &what)? {
        Ok(lowered) => lowered,
        Err(words) => return Ok(CandidateState::Failed(words)),
    };
    match score(&lowered) {
        Ok(score) => Ok(CandidateState::Scored(score)),
        Err(error) => Ok(CandidateState::Failed(error.of_network(what)?)),
    }
}

/// The network of an architecture, or what is wrong with it in words. The error is one of a space
/// that is broken.
pub(crate) fn lower_one(
    space: &dyn SearchSpace,
    arch: &Architecture,
    task: Task,
    what: impl FnOnce() -> String,
) -> Result<Result<Network, String>, EngineError> {
    in_words(space.lower(arch, task), what)
}

/// What is wrong with an architecture in words, but for what is wrong with its space.
fn in_words<T>(
    lowered: Result<T, SpaceError>,
    what: impl FnOnce() -> String,
) -> Result<Result<T, String>, EngineError> {
    match lowered {
        Ok(lowered) => Ok(Ok(lowered)),
        Err(source @ SpaceError::Broken(_)) => Err(EngineError::Space { what: what(), source }),
        Err(error) => Ok(Err(error.to_string())),
    }
}
