//! Which architectures to look at next: ask and tell, with commands as data.

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;

/// What a searcher asks the engine to do. A log of commands replays a search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Sample an architecture from the space and evaluate it.
    Sample {
        /// Seed of the sample.
        seed: u64,
    },
    /// Mutate a reported candidate and evaluate the result.
    Mutate {
        /// The parent.
        parent: CandidateId,
        /// Seed of the mutation.
        seed: u64,
    },
    /// Cross two reported candidates and evaluate the result.
    Cross {
        /// One parent.
        first: CandidateId,
        /// The other.
        second: CandidateId,
        /// Seed of the crossover.
        seed: u64,
    },
    /// Evaluate this architecture.
    Evaluate {
        /// The architecture.
        arch: Architecture,
    },
    /// Evaluate the architecture of a reported candidate again, at a higher fidelity: a candidate
    /// of its own in the order of commands. Every other command evaluates at rung 0.
    Promote {
        /// The candidate whose architecture is evaluated.
        candidate: CandidateId,
        /// The fidelity, which rises with the rung.
        rung: u32,
    },
}

/// A candidate's number in the search: 0 for the first command, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CandidateId(pub u64);

/// What came of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The candidate, by the order of commands.
    pub candidate: CandidateId,
    /// What to minimise; not finite where the candidate could not be evaluated.
    pub objective: f64,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
    /// The fidelity of the evaluation; see [`Command::Promote`].
    #[serde(default)]
    pub rung: u32,
}

/// Why a searcher cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("searcher: {0}")]
pub struct SearcherError(pub String);

/// Proposes candidates and learns from their outcomes.
///
/// ```
/// use ghnas_core::{Command, Outcome, Searcher, SearcherError};
///
/// /// Samples with the seeds 0, 1, 2...
/// struct Count(u64);
///
/// impl Searcher for Count {
///     fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
///         let first = self.0;
///         self.0 += n as u64;
///         Ok((first..self.0).map(|seed| Command::Sample { seed }).collect())
///     }
///     fn report(&mut self, _: &[Outcome]) -> Result<(), SearcherError> {
///         Ok(())
///     }
///     fn save(&self) -> Result<Vec<u8>, SearcherError> {
///         Ok(self.0.to_le_bytes().into())
///     }
///     fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
///         let bytes = state.try_into().map_err(|_| SearcherError("wants 8 bytes".into()))?;
///         self.0 = u64::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
///
/// assert_eq!(Count(0).suggest(2).unwrap()[1], Command::Sample { seed: 1 });
/// ```
pub trait Searcher: Send {
    /// Up to `n` commands; fewer where outcomes are awaited, none where the search is over.
    ///
    /// # Errors
    /// [`SearcherError`] says why it cannot go on.
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError>;

    /// Takes the outcomes of earlier commands.
    ///
    /// # Errors
    /// [`SearcherError`] where an outcome belongs to no command.
    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError>;

    /// Everything needed to go on.
    ///
    /// # Errors
    /// [`SearcherError`] says why it cannot be saved.
    fn save(&self) -> Result<Vec<u8>, SearcherError>;

    /// Goes on from saved state.
    ///
    /// # Errors
    /// [`SearcherError`] says what does not fit.
    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError>;
}
