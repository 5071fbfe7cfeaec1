//! Local search (White, Nolen, Savani 2020, "Exploring the Loss Landscape in Neural Architecture
//! Search"): all neighbours of an architecture are evaluated, the best of them is the next one,
//! and from an optimum the search starts again at a random architecture.
//!
//! Where choices of operations at fixed places are the whole space, neighbours are listed, and none
//! is evaluated twice. Elsewhere they are mutations, of which some may be the same.

use std::collections::BTreeMap;

use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{CandidateId, Command, Factory, Outcome, Registration, SearcherError, inventory};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::range::within;
use crate::template::{Template, digits, neighbours};
use crate::{bits, space};

/// Settings of the searcher `local-search`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSearchSettings {
    /// Mutations that stand for the neighbours of an architecture, in a space that cannot list
    /// them.
    pub neighbours: u64,
}

impl Default for LocalSearchSettings {
    fn default() -> Self {
        Self { neighbours: 24 }
    }
}

impl LocalSearchSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        within("neighbours", self.neighbours, 1..=1_000_000)
    }
}

inventory::submit! {
    Registration {
        id: LocalSearch::ID,
        summary: "the best neighbour, again and again; restarts in optima (White et al. 2020)",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&LocalSearchSettings::default()),
        factory: Factory::Searcher(|settings, context| {
            let settings: LocalSearchSettings = from_settings(settings)?;
            settings.validate()?;
            space::evolves(context)?;
            let listed = context.space.and_then(|space| Listed::of(&**space));
            let strategy = LocalSearch { settings, listed, state: State::default() };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct LocalSearch {
    settings: LocalSearchSettings,
    listed: Option<Listed>,
    state: State,
}

/// A space whose architectures are the numbers below `size`.
struct Listed {
    template: Template,
    counts: Vec<usize>,
    size: u64,
}

impl Listed {
    fn of(space: &dyn ghnas_core::SearchSpace) -> Option<Self> {
        space.enumerate()?;
        let template = Template::of(space).ok()?;
        let size = template.covered(space)?;
        Some(Self { counts: template.counts(), template, size })
    }

    fn evaluate(&self, place: u64) -> Command {
        Command::Evaluate { arch: self.template.architecture(&digits(place, &self.counts)) }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Where the search stands; none before a start has its outcome.
    current: Option<Spot>,
    /// The best neighbour of `current` so far, or the start.
    best: Option<Spot>,
    /// Neighbours without a command, the next one last; for listed spaces.
    todo: Vec<u64>,
    /// Mutations of `current` without a command; for other spaces.
    mutations: u64,
    /// Every evaluated place of a listed space.
    known: BTreeMap<u64, Value>,
}

/// A place is its number in a listed space, otherwise its candidate.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spot {
    place: u64,
    #[serde(with = "bits")]
    objective: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Value(#[serde(with = "bits")] f64);

impl LocalSearch {
    /// Makes `spot` the current one, with all of its neighbours ahead.
    fn enter(&mut self, spot: Spot, rng: &mut ChaCha8Rng) {
        self.state.current = Some(spot);
        let Some(Listed { counts, .. }) = &self.listed else {
            self.state.mutations = self.settings.neighbours;
            return;
        };
        let mut todo = neighbours(spot.place, counts);
        todo.retain(|&place| match self.state.known.get(&place) {
            Some(&Value(objective)) => {
                consider(&mut self.state.best, Spot { place, objective });
                false
            }
            None => true,
        });
        // A search that ends among the neighbours should favour none of them.
        todo.shuffle(rng);
        self.state.todo = todo;
    }

    /// The command of a start; none where it is known already, or there is none left.
    fn start(&mut self, turn: &mut Turn<'_, u64>) -> Option<(Command, u64)> {
        let Some(listed) = &self.listed else {
            return Some((Command::Sample { seed: turn.rng.next_u64() }, turn.candidate.0));
        };
        let place = turn.rng.random_range(0..listed.size);
        match self.state.known.get(&place) {
            Some(&Value(objective)) => {
                consider(&mut self.state.best, Spot { place, objective });
                None
            }
            None => Some((listed.evaluate(place), place)),
        }
    }

    /// Whether nothing is left to evaluate.
    fn is_over(&self) -> bool {
        let size = self.listed.as_ref().map(|listed| listed.size);
        size.is_some_and(|size| self.state.known.len() as u64 >= size)
    }
}

/// Keeps the better one; what failed is none.
fn consider(best: &mut Option<Spot>, spot: Spot) {
    let better = best.is_none_or(|best| {
        spot.objective < best.objective
            // Ties break by place, so that the order of outcomes carries no meaning.
            || (spot.objective == best.objective && spot.place < best.place)
    });
    if spot.objective.is_finite() && better {
        *best = Some(spot);
    }
}

impl Strategy for LocalSearch {
    const ID: &'static str = "local-search";
    /// The place that is evaluated.
    type Note = u64;
    type State = State;

    fn propose(
        &mut self,
        turn: &mut Turn<'_, u64>,
    ) -> Result<Option<(Command, u64)>, SearcherError> {
        loop {
            if let (Some(place), Some(listed)) = (self.state.todo.pop(), &self.listed) {
                return Ok(Some((listed.evaluate(place), place)));
            }
            if let (1.., Some(Spot { place, .. })) = (self.state.mutations, self.state.current) {
                self.state.mutations -= 1;
                let (parent, seed) = (CandidateId(place), turn.rng.next_u64());
                return Ok(Some((Command::Mutate { parent, seed }, turn.candidate.0)));
            }
            if !turn.awaited.is_empty() || self.is_over() {
                return Ok(None);
            }
            let limit = self.state.current.map_or(f64::INFINITY, |spot| spot.objective);
            match self.state.best.take() {
                Some(best) if best.objective < limit => self.enter(best, &mut turn.rng),
                _ => {
                    self.state.current = None;
                    if let Some(start) = self.start(turn) {
                        return Ok(Some(start));
                    }
                }
            }
        }
    }

    fn learn(&mut self, place: u64, outcome: &Outcome) {
        let objective = outcome.objective;
        if self.listed.is_some() {
            self.state.known.insert(place, Value(objective));
        }
        consider(&mut self.state.best, Spot { place, objective });
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, awaited: &BTreeMap<u64, u64>) -> Result<(), String> {
        let size = self.listed.as_ref().map_or(0, |listed| listed.size);
        let awaited = awaited.values().filter(|_| self.listed.is_some());
        let mut places = state.todo.iter().chain(state.known.keys()).chain(awaited);
        if let Some(place) = places.find(|&&place| place >= size) {
            return Err(format!("place {place}, but the space has {size} that are listed"));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::Searcher;

    /// Asks for a command and reports an objective; the parent of a mutation.
    fn step(searcher: &mut dyn Searcher, candidate: u64, objective: f64) -> Option<u64> {
        let parent = match searcher.suggest(1).unwrap()[0] {
            Command::Sample { .. } => None,
            Command::Mutate { parent, .. } => Some(parent.0),
            ref other => panic!("{other:?}"),
        };
        let candidate = CandidateId(candidate);
        searcher.report(&[Outcome { candidate, objective, multiply_adds: 1, rung: 0 }]).unwrap();
        parent
    }

    #[test]
    fn where_neighbours_cannot_be_listed_mutations_stand_for_them() {
        let settings = LocalSearchSettings { neighbours: 3 };
        let strategy = LocalSearch { settings, listed: None, state: State::default() };
        let mut searcher = AskTell::new(strategy, 1);
        let steps = [
            // A start that fails, and one that does not.
            (f64::NAN, None),
            (5.0, None),
            // The best of its neighbours is candidate 3.
            (6.0, Some(1)),
            (4.0, Some(1)),
            (4.5, Some(1)),
            // None of whose neighbours is better: another start.
            (4.0, Some(3)),
            (f64::INFINITY, Some(3)),
            (9.0, Some(3)),
            (8.0, None),
            (7.0, Some(8)),
        ];
        for (candidate, (objective, parent)) in (0..).zip(steps) {
            assert_eq!(step(&mut searcher, candidate, objective), parent, "candidate {candidate}");
        }
    }

    #[test]
    fn a_search_waits_for_all_neighbours() {
        let settings = LocalSearchSettings { neighbours: 3 };
        let strategy = LocalSearch { settings, listed: None, state: State::default() };
        let mut searcher = AskTell::new(strategy, 1);
        assert_eq!(searcher.suggest(5).unwrap().len(), 1);
        let outcome = |candidate, objective| {
            let candidate = CandidateId(candidate);
            Outcome { candidate, objective, multiply_adds: 1, rung: 0 }
        };
        searcher.report(&[outcome(0, 1.0)]).unwrap();
        assert_eq!(searcher.suggest(5).unwrap().len(), 3);
        searcher.report(&[outcome(2, 0.5), outcome(1, 0.1)]).unwrap();
        assert!(searcher.suggest(5).unwrap().is_empty());
        searcher.report(&[outcome(3, 0.7)]).unwrap();
        let next = searcher.suggest(5).unwrap();
        assert!(matches!(next[..], [Command::Mutate { parent: CandidateId(1), .. }, _, _]));
    }
}
