//! Searchers with a memory.

use ghnas_core::{CandidateId, Command, Outcome, Searcher, SearcherError};
use serde::{Deserialize, Serialize};

/// Samples twice, then mutates the best so far, then crosses it with the last.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ToyEvolution {
    asked: u64,
    best: Option<(f64, u64)>,
}

impl Searcher for ToyEvolution {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let best = self.best.map_or(CandidateId(0), |(_, best)| CandidateId(best));
        let command = |id: u64| match id {
            0 | 1 => Command::Sample { seed: id },
            id if id % 2 == 0 => Command::Mutate { parent: best, seed: id },
            id => Command::Cross { first: best, second: CandidateId(id - 1), seed: id },
        };
        let first = self.asked;
        self.asked += n as u64;
        Ok((first..self.asked).map(command).collect())
    }

    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError> {
        for outcome in outcomes {
            if self.best.is_none_or(|(objective, _)| outcome.objective < objective) {
                self.best = Some((outcome.objective, outcome.candidate.0));
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        serde_json::to_vec(self).map_err(|error| SearcherError(error.to_string()))
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        *self = serde_json::from_slice(state).map_err(|error| SearcherError(error.to_string()))?;
        Ok(())
    }
}

/// Samples four, promotes the better two of them to rung 1, and the better of these to rung 2.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ToyHalving {
    asked: usize,
    /// Objective and candidate, by rung.
    told: [Vec<(f64, u64)>; 2],
}

impl ToyHalving {
    /// The commands that can be told by now, from the first on.
    fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = (0..4).map(|seed| Command::Sample { seed }).collect();
        for (rung, (told, of)) in (1..).zip(self.told.iter().zip([4, 2])) {
            if told.len() == of {
                let mut best = told.clone();
                best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let promote =
                    |&(_, id): &(f64, u64)| Command::Promote { candidate: CandidateId(id), rung };
                commands.extend(best[..of / 2].iter().map(promote));
            }
        }
        commands
    }
}

impl Searcher for ToyHalving {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let commands: Vec<Command> = self.commands().into_iter().skip(self.asked).take(n).collect();
        self.asked += commands.len();
        Ok(commands)
    }

    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError> {
        for outcome in outcomes {
            if let Some(told) = self.told.get_mut(outcome.rung as usize) {
                told.push((outcome.objective, outcome.candidate.0));
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        serde_json::to_vec(self).map_err(|error| SearcherError(error.to_string()))
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        *self = serde_json::from_slice(state).map_err(|error| SearcherError(error.to_string()))?;
        Ok(())
    }
}
