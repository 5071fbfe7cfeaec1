//! Regularized evolution (Real, Aggarwal, Huang, Le 2018, "Regularized Evolution for Image
//! Classifier Architecture Search", algorithm 1): the best of a sample of the population has a
//! mutated child, and the oldest member dies.

use std::collections::{BTreeMap, VecDeque};

use ghnas_core::registry::{from_settings, settings_of};
use ghnas_core::{
    CandidateId, Command, Factory, Outcome, Preset, Registration, SearcherError, inventory,
};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::range::within;
use crate::{bits, space};

/// Settings of the searcher `regularized-evolution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegularizedEvolutionSettings {
    /// Members of the population; as many architectures are sampled before the first mutation.
    pub population: usize,
    /// Members that are drawn, with replacement, of which the best becomes a parent.
    pub sample: usize,
}

impl Default for RegularizedEvolutionSettings {
    /// The paper's largest experiments.
    fn default() -> Self {
        Self { population: 100, sample: 25 }
    }
}

impl RegularizedEvolutionSettings {
    /// What NATS-Bench (Dong et al. 2021) uses on the cells of NAS-Bench-201.
    pub fn nats_bench() -> Self {
        Self { population: 10, sample: 3 }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        within("population", self.population, 1..=1_000_000)?;
        within("sample", self.sample, 1..=1_000_000)
    }
}

inventory::submit! {
    Registration {
        id: RegularizedEvolution::ID,
        summary: "mutates the best of a sample, the oldest dies (Real et al. 2018)",
        source: env!("CARGO_PKG_NAME"),
        presets: || {
            [
                ("default", RegularizedEvolutionSettings::default()),
                ("nats-bench", RegularizedEvolutionSettings::nats_bench()),
            ]
            .map(|(name, settings)| Preset { name: name.into(), settings: settings_of(&settings) })
            .into()
        },
        factory: Factory::Searcher(|settings, context| {
            let settings: RegularizedEvolutionSettings = from_settings(settings)?;
            settings.validate()?;
            space::evolves(context)?;
            let strategy = RegularizedEvolution { settings, state: State::default() };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct RegularizedEvolution {
    settings: RegularizedEvolutionSettings,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The oldest first.
    population: VecDeque<Member>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    candidate: u64,
    #[serde(with = "bits")]
    objective: f64,
}

impl Strategy for RegularizedEvolution {
    const ID: &'static str = "regularized-evolution";
    type Note = ();
    type State = State;

    fn propose(&mut self, turn: &mut Turn<'_, ()>) -> Result<Option<(Command, ())>, SearcherError> {
        let members = &self.state.population;
        if members.len() < self.settings.population {
            // All that is awaited may join the population; failures are made up for.
            let enough = members.len() + turn.awaited.len() >= self.settings.population;
            let sample = Command::Sample { seed: turn.rng.next_u64() };
            return Ok((!enough).then_some((sample, ())));
        }
        let drawn = (0..self.settings.sample).map(|_| turn.rng.random_range(0..members.len()));
        // Ties break by candidate, so that the order of draws carries no meaning.
        let key = |member: &Member| (member.objective, member.candidate);
        let best = drawn.map(|index| members[index]).min_by(|a, b| {
            let ((a, first), (b, second)) = (key(a), key(b));
            a.total_cmp(&b).then(first.cmp(&second))
        });
        let parent = CandidateId(best.expect("a sample has a member").candidate);
        Ok(Some((Command::Mutate { parent, seed: turn.rng.next_u64() }, ())))
    }

    fn learn(&mut self, (): (), outcome: &Outcome) {
        if !outcome.objective.is_finite() {
            return;
        }
        let (candidate, objective) = (outcome.candidate.0, outcome.objective);
        self.state.population.push_back(Member { candidate, objective });
        if self.state.population.len() > self.settings.population {
            self.state.population.pop_front();
        }
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, _: &BTreeMap<u64, ()>) -> Result<(), String> {
        within("members", state.population.len(), 0..=self.settings.population)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::Searcher;

    fn searcher(population: usize, sample: usize) -> AskTell<RegularizedEvolution> {
        let settings = RegularizedEvolutionSettings { population, sample };
        AskTell::new(RegularizedEvolution { settings, state: State::default() }, 5)
    }

    fn outcome(candidate: u64, objective: f64) -> Outcome {
        Outcome { candidate: CandidateId(candidate), objective, multiply_adds: 1, rung: 0 }
    }

    #[test]
    fn the_oldest_dies_even_where_it_is_the_best() {
        // Candidate 0 is the best by far, and a sample of 64 out of 4 misses it once in 10^8.
        let mut searcher = searcher(4, 64);
        for candidate in 0..12 {
            let command = searcher.suggest(1).unwrap()[0].clone();
            let parent = match command {
                Command::Sample { .. } => None,
                Command::Mutate { parent, .. } => Some(parent.0),
                other => panic!("{other:?}"),
            };
            // The population is the last four: the oldest of them is the best.
            assert_eq!(parent, (candidate >= 4).then(|| candidate - 4), "candidate {candidate}");
            searcher.report(&[outcome(candidate, candidate as f64)]).unwrap();
        }
    }

    #[test]
    fn what_failed_never_joins_the_population() {
        let mut searcher = searcher(3, 64);
        for candidate in 0..50 {
            if let Command::Mutate { parent, .. } = searcher.suggest(1).unwrap()[0] {
                assert!(parent.0 % 2 == 1, "candidate {candidate} has the parent {}", parent.0);
            }
            let objective = if candidate % 2 == 0 { f64::NAN } else { 1.0 };
            searcher.report(&[outcome(candidate, objective)]).unwrap();
        }
    }

    #[test]
    fn samples_that_are_awaited_count_as_members() {
        let mut searcher = searcher(5, 2);
        assert_eq!(searcher.suggest(8).unwrap().len(), 5);
        assert!(searcher.suggest(1).unwrap().is_empty());
        searcher.report(&[outcome(3, f64::INFINITY), outcome(1, 0.5)]).unwrap();
        assert!(matches!(searcher.suggest(8).unwrap()[..], [Command::Sample { .. }]));
    }
}
