//! A searcher: a few random samples, then mutations of the best candidate so far.

use ghnas_plugin_sdk::prelude::*;

/// Samples before the first mutation.
const SAMPLES: u64 = 8;

/// Mutates the best.
pub struct HillClimb {
    seed: u64,
    /// Commands given so far.
    given: u64,
    /// The best candidate with its objective.
    best: Option<(CandidateId, f64)>,
}

impl Searcher for HillClimb {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let first = self.given;
        self.given += n as u64;
        let command = |index| {
            let seed = rng::derive_seed(self.seed, "example-searcher", index);
            match self.best {
                Some((parent, _)) if index >= SAMPLES => Command::Mutate { parent, seed },
                _ => Command::Sample { seed },
            }
        };
        Ok((first..self.given).map(command).collect())
    }

    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError> {
        for outcome in outcomes.iter().filter(|outcome| outcome.objective.is_finite()) {
            if self.best.is_none_or(|(_, objective)| outcome.objective < objective) {
                self.best = Some((outcome.candidate, outcome.objective));
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        let (candidate, objective) = self.best.unwrap_or((CandidateId(u64::MAX), f64::INFINITY));
        Ok([self.given, candidate.0, objective.to_bits()].map(u64::to_le_bytes).concat())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        let words: Vec<u64> = state
            .chunks(8)
            .map(|bytes| bytes.try_into().map(u64::from_le_bytes))
            .collect::<Result<_, _>>()
            .map_err(|_| SearcherError("saved state of another length".into()))?;
        let [given, candidate, objective] = words[..] else {
            return Err(SearcherError(format!("saved state of {} words, expected 3", words.len())));
        };
        let best = (CandidateId(candidate), f64::from_bits(objective));
        self.given = given;
        self.best = (candidate != u64::MAX).then_some(best);
        Ok(())
    }
}

register!(Searcher for HillClimb, "example-searcher", "mutates the best candidate so far", |context| {
    Ok(HillClimb { seed: context.seed, given: 0, best: None })
});
export_plugin!();
