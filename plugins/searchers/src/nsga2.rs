//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic
//! Algorithm: NSGA-II"): evolves a Pareto front of the objective and multiply-adds, both minimised.
//!
//! A generation has as many children as the population has places; parents and children compete
//! for those by front, then by crowding distance. Members with equal objectives are one: a small
//! space would else fill the population with copies.

use std::collections::BTreeMap;

use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{CandidateId, Command, Factory, Outcome, Registration, SearcherError, inventory};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::fronts::{Point, crowding, fronts};
use crate::range::within;
use crate::{bits, space};

/// Settings of the searcher `nsga2`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nsga2Settings {
    /// Members of the population, and children of a generation.
    pub population: usize,
    /// The part of the children that are a crossover of two members; the others are a mutation of
    /// one.
    pub crossover: f64,
}

impl Default for Nsga2Settings {
    fn default() -> Self {
        Self { population: 20, crossover: 0.5 }
    }
}

impl Nsga2Settings {
    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        within("population", self.population, 2..=10_000)?;
        within("crossover", self.crossover, 0.0..=1.0)
    }
}

inventory::submit! {
    Registration {
        id: Nsga2::ID,
        summary: "evolves a Pareto front of objective and multiply-adds (Deb et al. 2002)",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&Nsga2Settings::default()),
        factory: Factory::Searcher(|settings, context| {
            let settings: Nsga2Settings = from_settings(settings)?;
            settings.validate()?;
            space::evolves(context)?;
            let strategy = Nsga2 { settings, state: State::default() };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct Nsga2 {
    settings: Nsga2Settings,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Parents of the present generation; none while it is sampled.
    population: Vec<Member>,
    /// Evaluated children of the present generation.
    children: Vec<Member>,
    /// Commands of the present generation.
    born: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    candidate: u64,
    #[serde(with = "bits")]
    objective: f64,
    multiply_adds: u64,
    /// Of its front in the population; of no meaning for a child.
    front: usize,
    /// In its front; of no meaning for a child.
    #[serde(with = "bits")]
    crowding: f64,
}

impl Member {
    fn point(&self) -> Point {
        [self.objective, self.multiply_adds as f64]
    }
}

/// The best `places` of `members`, with front and crowding.
fn select(mut members: Vec<Member>, places: usize) -> Vec<Member> {
    let copies = |a: &Member, b: &Member| {
        a.objective.total_cmp(&b.objective).then(a.multiply_adds.cmp(&b.multiply_adds))
    };
    members.sort_by(|a, b| copies(a, b).then(a.candidate.cmp(&b.candidate)));
    members.dedup_by(|a, b| copies(a, b).is_eq());
    let points: Vec<Point> = members.iter().map(Member::point).collect();
    let mut selected = Vec::with_capacity(places);
    for (number, front) in fronts(&points).into_iter().enumerate() {
        let distances = crowding(&points, &front);
        let ranked = |(&place, crowding)| Member { front: number, crowding, ..members[place] };
        let mut front: Vec<Member> = front.iter().zip(distances).map(ranked).collect();
        front.sort_by(better);
        selected.extend(front);
        if selected.len() >= places {
            break;
        }
    }
    selected.truncate(places);
    selected
}

/// Less where `a` is the better parent; ties break by candidate.
fn better(a: &Member, b: &Member) -> std::cmp::Ordering {
    let crowding = || b.crowding.total_cmp(&a.crowding);
    a.front.cmp(&b.front).then_with(crowding).then(a.candidate.cmp(&b.candidate))
}

impl Nsga2 {
    /// The better of two members, drawn at random.
    fn tournament(&self, rng: &mut ChaCha8Rng) -> CandidateId {
        let mut draw = || self.state.population[rng.random_range(0..self.state.population.len())];
        let (a, b) = (draw(), draw());
        CandidateId(if better(&a, &b).is_le() { a.candidate } else { b.candidate })
    }

    fn child(&self, rng: &mut ChaCha8Rng) -> Command {
        let first = self.tournament(rng);
        if rng.random_bool(self.settings.crossover) {
            let second = self.tournament(rng);
            // A member's child with itself would be a copy.
            if second != first {
                return Command::Cross { first, second, seed: rng.next_u64() };
            }
        }
        Command::Mutate { parent: first, seed: rng.next_u64() }
    }
}

impl Strategy for Nsga2 {
    const ID: &'static str = "nsga2";
    type Note = ();
    type State = State;

    fn propose(&mut self, turn: &mut Turn<'_, ()>) -> Result<Option<(Command, ())>, SearcherError> {
        if self.state.born == self.settings.population {
            if !turn.awaited.is_empty() {
                return Ok(None);
            }
            let mut members = std::mem::take(&mut self.state.population);
            members.append(&mut self.state.children);
            self.state.population = select(members, self.settings.population);
            self.state.born = 0;
        }
        self.state.born += 1;
        let command = match self.state.population.is_empty() {
            true => Command::Sample { seed: turn.rng.next_u64() },
            false => self.child(&mut turn.rng),
        };
        Ok(Some((command, ())))
    }

    fn learn(&mut self, (): (), outcome: &Outcome) {
        if outcome.objective.is_finite() {
            self.state.children.push(Member {
                candidate: outcome.candidate.0,
                objective: outcome.objective,
                multiply_adds: outcome.multiply_adds,
                front: 0,
                crowding: 0.0,
            });
        }
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, _: &BTreeMap<u64, ()>) -> Result<(), String> {
        within("members", state.population.len(), 0..=self.settings.population)?;
        within("children", state.born, 0..=self.settings.population)?;
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(candidate: u64, objective: f64, multiply_adds: u64) -> Member {
        Member { candidate, objective, multiply_adds, front: 0, crowding: 0.0 }
    }

    #[test]
    fn the_best_fronts_stay_and_of_the_last_one_the_least_crowded() {
        let members = vec![
            // The first front.
            member(0, 1.0, 9),
            member(1, 9.0, 1),
            // The second one: 4 is crowded between 3 and 5.
            member(2, 2.0, 20),
            member(3, 3.0, 11),
            member(4, 3.1, 10),
            member(5, 10.0, 9),
            // A copy of candidate 0.
            member(6, 1.0, 9),
        ];
        let ids = |places| {
            let mut ids: Vec<u64> =
                select(members.clone(), places).iter().map(|member| member.candidate).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(2), [0, 1]);
        assert_eq!(ids(4), [0, 1, 2, 5]);
        assert_eq!(ids(100), [0, 1, 2, 3, 4, 5]);
    }
}
