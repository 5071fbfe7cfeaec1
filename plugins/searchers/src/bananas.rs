//! BANANAS (White, Neiswanger, Savani 2021, "BANANAS: Bayesian Optimization with Neural
//! Architectures for Neural Architecture Search", algorithm 1): an ensemble of predictors learns
//! what was evaluated, and independent Thompson sampling chooses among mutations of the best and
//! random samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{
    Architecture, ArchitectureHash, Command, Factory, Outcome, Phase, Registration, SearchSpace,
    SearcherError, inventory,
};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::mlp::Recipe;
use crate::path_encoding::paths;
use crate::predictor::{Ensemble, Known, Prediction};
use crate::range::within;
use crate::{bits, space};

/// Settings of the searcher `bananas`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BananasSettings {
    /// Random samples before the first prediction.
    pub initial: usize,
    /// Architectures that are evaluated between two trainings of the ensemble.
    pub batch: usize,
    /// Mutations that the ensemble looks at, and as many random samples.
    pub candidates: usize,
    /// The best evaluated architectures, which are mutated.
    pub parents: usize,
    /// Predictors in the ensemble.
    pub networks: usize,
    /// Hidden layers of a predictor.
    pub layers: usize,
    /// Units of a hidden layer.
    pub width: usize,
    /// Passes over what was evaluated, in one training.
    pub epochs: usize,
    /// Adam's step size.
    pub learning_rate: f64,
}

impl Default for BananasSettings {
    fn default() -> Self {
        Self {
            initial: 10,
            batch: 10,
            candidates: 100,
            parents: 5,
            networks: 5,
            layers: 2,
            width: 20,
            epochs: 100,
            learning_rate: 0.01,
        }
    }
}

impl BananasSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        for (key, value, range) in [
            ("initial", self.initial, 2..=1_000_000),
            ("batch", self.batch, 1..=10_000),
            ("candidates", self.candidates, 1..=1_000_000),
            ("parents", self.parents, 1..=10_000),
            ("networks", self.networks, 1..=1000),
            ("layers", self.layers, 1..=100),
            ("width", self.width, 1..=4096),
            ("epochs", self.epochs, 1..=100_000),
        ] {
            within(key, value, range)?;
        }
        within("learning_rate", self.learning_rate, 1e-9..=10.0)
    }
}

inventory::submit! {
    Registration {
        id: Bananas::ID,
        summary: "predictors on path encodings with Thompson sampling (White et al. 2021)",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&BananasSettings::default()),
        factory: Factory::Searcher(|settings, context| {
            let settings: BananasSettings = from_settings(settings)?;
            settings.validate()?;
            space::evolves(context)?;
            let space = space::needed(context)?.clone();
            let strategy = Bananas { settings, space, state: State::default() };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct Bananas {
    settings: BananasSettings,
    space: Arc<dyn SearchSpace>,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    evaluated: Vec<Evaluated>,
    /// What the ensemble chose and has no command yet, the next one last.
    queue: Vec<Architecture>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evaluated {
    arch: Architecture,
    /// Not finite where the evaluation failed.
    #[serde(with = "bits")]
    objective: f64,
}

type Note = Option<Architecture>;

impl Bananas {
    /// A random sample; one that the space cannot give is left to the engine, which tells why.
    fn sample(&self, rng: &mut ChaCha8Rng) -> (Command, Note) {
        let seed = rng.next_u64();
        match self.space.sample(Phase::Score, seed) {
            Ok(arch) => (Command::Evaluate { arch: arch.clone() }, Some(arch)),
            Err(_) => (Command::Sample { seed }, None),
        }
    }

    /// Trains an ensemble and queues what it finds most promising.
    fn choose(&mut self, finite: &[usize], turn: &mut Turn<'_, Note>) -> Result<(), SearcherError> {
        let BananasSettings { layers, width, epochs, .. } = self.settings;
        let rate = self.settings.learning_rate as f32;
        let recipe = Recipe { layers, width, epochs, rate };
        let known = |&index: &usize| {
            let Evaluated { arch, objective } = &self.state.evaluated[index];
            Known { paths: paths(arch), objective: *objective }
        };
        let known: Vec<Known> = finite.iter().map(known).collect();
        let ensemble = Ensemble::fit(&known, self.settings.networks, recipe, turn.rng.next_u64());
        let mut scored: Vec<(f64, Architecture)> = self
            .candidates(finite, turn)?
            .into_iter()
            .map(|arch| {
                let Prediction { mean, deviation } = ensemble.predict(&paths(&arch));
                (mean + deviation * normal(&mut turn.rng), arch)
            })
            .collect();
        // Stable: what is equal keeps the order in which it was drawn.
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.truncate(self.settings.batch);
        self.state.queue = scored.into_iter().rev().map(|(_, arch)| arch).collect();
        Ok(())
    }

    /// Mutations of the best and random samples, each once, none of which has a command already.
    fn candidates(
        &self,
        finite: &[usize],
        turn: &mut Turn<'_, Note>,
    ) -> Result<Vec<Architecture>, SearcherError> {
        let evaluated = self.state.evaluated.iter().map(|evaluated| &evaluated.arch);
        let awaited = turn.awaited.values().flatten();
        let mut seen: BTreeSet<ArchitectureHash> =
            evaluated.chain(awaited).map(Architecture::hash).collect();
        let objective = |index: &usize| self.state.evaluated[*index].objective;
        let mut parents = finite.to_vec();
        parents.sort_by(|a, b| objective(a).total_cmp(&objective(b)).then(a.cmp(b)));
        parents.truncate(self.settings.parents);
        let wrong = |error| SearcherError(format!("{}: {error}", Self::ID));
        let evolve =
            self.space.evolve().ok_or_else(|| wrong("the space does not mutate".into()))?;
        let mut candidates = Vec::new();
        for index in 0..self.settings.candidates {
            let parent = &self.state.evaluated[parents[index % parents.len()]].arch;
            let mutated = evolve.mutate(parent, turn.rng.next_u64());
            let mutated = mutated.map_err(|error| wrong(format!("mutation: {error}")))?;
            // A sample that the space cannot give is no candidate.
            let sampled = self.space.sample(Phase::Score, turn.rng.next_u64()).ok();
            let fresh = std::iter::once(mutated).chain(sampled);
            candidates.extend(fresh.filter(|arch| seen.insert(arch.hash())));
        }
        Ok(candidates)
    }
}

impl Strategy for Bananas {
    const ID: &'static str = "bananas";
    /// The architecture; none where it is a sample that the space could not give.
    type Note = Note;
    type State = State;

    fn propose(
        &mut self,
        turn: &mut Turn<'_, Note>,
    ) -> Result<Option<(Command, Note)>, SearcherError> {
        let evaluated = &self.state.evaluated;
        let begun = evaluated.len() + turn.awaited.len() >= self.settings.initial;
        if begun && self.state.queue.is_empty() {
            let finite = |&index: &usize| evaluated[index].objective.is_finite();
            let finite: Vec<usize> = (0..evaluated.len()).filter(finite).collect();
            if finite.len() >= 2 {
                self.choose(&finite, turn)?;
            } else if !turn.awaited.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(match self.state.queue.pop() {
            Some(arch) => (Command::Evaluate { arch: arch.clone() }, Some(arch)),
            None => self.sample(&mut turn.rng),
        }))
    }

    fn learn(&mut self, note: Note, outcome: &Outcome) {
        if let Some(arch) = note {
            self.state.evaluated.push(Evaluated { arch, objective: outcome.objective });
        }
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State, _: &BTreeMap<u64, Note>) -> Result<(), String> {
        self.state = state;
        Ok(())
    }
}

/// A draw of the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
