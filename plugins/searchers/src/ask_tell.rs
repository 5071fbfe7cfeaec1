//! What all searchers of this crate share: candidates are counted, outcomes find their commands,
//! and everything that changes is saved.

use std::collections::BTreeMap;

use ghnas_core::{CandidateId, Command, Outcome, Searcher, SearcherError, rng};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How a searcher chooses, and what it learns.
pub(crate) trait Strategy: Send {
    /// The searcher's id.
    const ID: &'static str;
    /// What is remembered of a command until its outcome comes.
    type Note: Serialize + DeserializeOwned + Send;
    /// All that changes during a search.
    type State: Serialize + DeserializeOwned;

    /// The command of the next candidate; none where outcomes are awaited first, or the search is
    /// over.
    ///
    /// # Errors
    /// [`SearcherError`] says why it cannot go on.
    fn propose(
        &mut self,
        turn: &mut Turn<'_, Self::Note>,
    ) -> Result<Option<(Command, Self::Note)>, SearcherError>;

    /// Takes the outcome of a command.
    fn learn(&mut self, note: Self::Note, outcome: &Outcome);

    /// For saving.
    fn state(&self) -> &Self::State;

    /// Goes on from `state`, with the notes of the commands without an outcome.
    ///
    /// # Errors
    /// In words, where it is not a state of a searcher with these settings; nothing has changed.
    fn restore(
        &mut self,
        state: Self::State,
        awaited: &BTreeMap<u64, Self::Note>,
    ) -> Result<(), String>;
}

/// What a strategy has to go by when it chooses.
pub(crate) struct Turn<'a, N> {
    /// The candidate that the command will make.
    pub(crate) candidate: CandidateId,
    /// Commands without an outcome, by candidate.
    pub(crate) awaited: &'a BTreeMap<u64, N>,
    /// The candidate's own stream of randomness.
    pub(crate) rng: ChaCha8Rng,
}

/// A strategy as a searcher.
pub(crate) struct AskTell<S: Strategy> {
    strategy: S,
    seed: u64,
    /// Commands so far.
    given: u64,
    awaited: BTreeMap<u64, S::Note>,
}

#[derive(Serialize)]
struct ToSave<'a, N, S> {
    searcher: &'a str,
    given: u64,
    awaited: &'a BTreeMap<u64, N>,
    state: &'a S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<N, S> {
    searcher: String,
    given: u64,
    awaited: BTreeMap<u64, N>,
    state: S,
}

impl<S: Strategy> AskTell<S> {
    /// A search that has not begun; everything is drawn from `seed`.
    pub(crate) fn new(strategy: S, seed: u64) -> Self {
        Self { strategy, seed, given: 0, awaited: BTreeMap::new() }
    }
}

fn error<S: Strategy>(reason: impl std::fmt::Display) -> SearcherError {
    SearcherError(format!("{}: {reason}", S::ID))
}

impl<S: Strategy> Searcher for AskTell<S> {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let mut commands = Vec::with_capacity(n);
        while commands.len() < n {
            let mut turn = Turn {
                candidate: CandidateId(self.given),
                awaited: &self.awaited,
                rng: rng::stream(self.seed, S::ID, self.given),
            };
            let Some((command, note)) = self.strategy.propose(&mut turn)? else { break };
            self.awaited.insert(self.given, note);
            self.given += 1;
            commands.push(command);
        }
        Ok(commands)
    }

    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError> {
        for outcome in outcomes {
            let candidate = outcome.candidate.0;
            let note = self.awaited.remove(&candidate);
            let note = note.ok_or_else(|| {
                error::<S>(format!("no outcome of candidate {candidate} is awaited"))
            })?;
            self.strategy.learn(note, outcome);
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        let (searcher, state) = (S::ID, self.strategy.state());
        let saved = ToSave { searcher, given: self.given, awaited: &self.awaited, state };
        serde_json::to_vec(&saved).map_err(error::<S>)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        let refuse = |reason: String| error::<S>(format!("saved state: {reason}"));
        let saved: Saved<S::Note, S::State> =
            serde_json::from_slice(state).map_err(|error| refuse(error.to_string()))?;
        if saved.searcher != S::ID {
            return Err(refuse(format!("it is of the searcher '{}'", saved.searcher)));
        }
        if let Some((last, _)) = saved.awaited.last_key_value()
            && *last >= saved.given
        {
            let reason = format!("awaits candidate {last} after {} commands", saved.given);
            return Err(refuse(reason));
        }
        self.strategy.restore(saved.state, &saved.awaited).map_err(refuse)?;
        (self.given, self.awaited) = (saved.given, saved.awaited);
        Ok(())
    }
}
