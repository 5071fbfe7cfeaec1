//! Random search: every candidate is an independent sample of the space (section 5.1).

use ghnas_core::registry::{Factory, Registration, default_preset, from_settings};
use ghnas_core::{Command, Outcome, Searcher, SearcherError, Settings, inventory, rng};
use serde::Deserialize;

/// Samples candidate after candidate, for as long as it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomSearch {
    seed: u64,
    /// The next candidate.
    next: u64,
}

impl RandomSearch {
    /// A search whose samples are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }
}

impl Searcher for RandomSearch {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let first = self.next;
        self.next += n as u64;
        let seed = |index| rng::derive_seed(self.seed, "random-search", index);
        Ok((first..self.next).map(|index| Command::Sample { seed: seed(index) }).collect())
    }

    fn report(&mut self, _: &[Outcome]) -> Result<(), SearcherError> {
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        Ok(self.next.to_le_bytes().into())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        let bytes = state.try_into().map_err(|_| {
            SearcherError(format!("random: saved state of {} bytes, expected 8", state.len()))
        })?;
        self.next = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Random search has no settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

inventory::submit! {
    Registration {
        id: "random",
        summary: "independent samples of the space",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&Settings::new()),
        factory: Factory::Searcher(|settings, context| {
            let NoSettings {} = from_settings(settings)?;
            Ok(Box::new(RandomSearch::new(context.seed)))
        }),
    }
}
