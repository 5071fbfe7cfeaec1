//! BANANAS (White, Neiswanger, Savani 2021, "BANANAS: Bayesian Optimization with Neural
//! Architectures for Neural Architecture Search", algorithm 1): an ensemble of predictors learns
//! what was evaluated, and independent Thompson sampling chooses among mutations of the best and
//! random samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{
    Architecture, ArchitectureHash, Command, Encoder, Factory, Outcome, Phase, Registration,
    SearchSpace, SearcherError, inventory,
};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ask_tell::{AskTell, Strategy, Turn};
use crate::features::Features;
use crate::mlp::Recipe;
use crate::path_encoding::paths;
use crate::predictor::{Ensemble, Known, Prediction};
use crate::range::within;
use crate::{bits, space};

/// What the predictors see of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Which sequences of operations lead from an input to an output, as in the paper.
    Paths,
    /// The trained weight generator's embedding of its network.
    Embedding,
}

/// Settings of the searcher `bananas`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BananasSettings {
    /// What the predictors see of an architecture.
    pub encoding: Encoding,
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
            encoding: Encoding::Paths,
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
        summary: "predictors on paths or embeddings, with Thompson sampling (White et al. 2021)",
        source: env!("CARGO_PKG_NAME"),
        presets: || default_preset(&BananasSettings::default()),
        factory: Factory::Searcher(|settings, context| {
            let settings: BananasSettings = from_settings(settings)?;
            settings.validate()?;
            space::evolves(context)?;
            let space = space::needed(context)?.clone();
            let encoder = match settings.encoding {
                Encoding::Paths => None,
                Encoding::Embedding => {
                    let reason = |reason| format!("encoding = \"embedding\": {reason}");
                    Some((context.encoder)().map_err(reason)?)
                }
            };
            let (seen, state) = (Vec::new(), State::default());
            let strategy = Bananas { settings, space, encoder, seen, state };
            Ok(Box::new(AskTell::new(strategy, context.seed)))
        }),
    }
}

struct Bananas {
    settings: BananasSettings,
    space: Arc<dyn SearchSpace>,
    /// Nothing where predictors see paths.
    encoder: Option<Arc<dyn Encoder>>,
    /// Of the first architectures that were evaluated; a function of these, and not saved.
    seen: Vec<Seen>,
    state: State,
}

/// What is seen of an architecture that was evaluated.
struct Seen {
    hash: ArchitectureHash,
    features: Option<Features>,
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

    /// What predictors see of an architecture; nothing where the encoder has no vector for it.
    fn features(&self, arch: &Architecture) -> Result<Option<Features>, SearcherError> {
        Ok(match &self.encoder {
            None => Some(Features::Paths(paths(arch))),
            Some(encoder) => encoder.encode(arch).map_err(wrong)?.map(Features::Vector),
        })
    }

    /// Looks at what was evaluated since the last time. Gives those that there is something to learn
    /// of: with a finite objective and features.
    fn look(&mut self) -> Result<Vec<usize>, SearcherError> {
        for index in self.seen.len()..self.state.evaluated.len() {
            let arch = &self.state.evaluated[index].arch;
            let seen = Seen { hash: arch.hash(), features: self.features(arch)? };
            self.seen.push(seen);
        }
        let teaches = |&index: &usize| {
            self.state.evaluated[index].objective.is_finite() && self.seen[index].features.is_some()
        };
        Ok((0..self.seen.len()).filter(teaches).collect())
    }

    /// Trains an ensemble on what was evaluated, by index, and queues what it finds most promising.
    fn choose(&mut self, known: &[usize], turn: &mut Turn<'_, Note>) -> Result<(), SearcherError> {
        let BananasSettings { layers, width, epochs, .. } = self.settings;
        let rate = self.settings.learning_rate as f32;
        let recipe = Recipe { layers, width, epochs, rate };
        let learned = |&index: &usize| {
            let features = self.seen[index].features.as_ref()?;
            Some(Known { features, objective: self.state.evaluated[index].objective })
        };
        let learned: Vec<Known<'_>> = known.iter().filter_map(learned).collect();
        let ensemble = Ensemble::fit(&learned, self.settings.networks, recipe, turn.rng.next_u64());
        let candidates = self.candidates(known, turn)?;
        let predictions = ensemble.predict(candidates.iter().map(|(_, features)| features));
        let drawn = predictions.map(|Prediction { mean, deviation }| {
            // Thompson sampling: each candidate by a draw of its own.
            mean + deviation * normal(&mut turn.rng)
        });
        let drawn: Vec<f64> = drawn.collect();
        let archs = candidates.into_iter().map(|(arch, _)| arch);
        let mut scored: Vec<(f64, Architecture)> = drawn.into_iter().zip(archs).collect();
        // Stable: what is equal keeps the order in which it was drawn.
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.truncate(self.settings.batch);
        self.state.queue = scored.into_iter().rev().map(|(_, arch)| arch).collect();
        Ok(())
    }

    /// Mutations of the best of `known` and random samples, each once, none of which has a command
    /// already. One without features is none.
    fn candidates(
        &self,
        known: &[usize],
        turn: &mut Turn<'_, Note>,
    ) -> Result<Vec<(Architecture, Features)>, SearcherError> {
        let awaited = turn.awaited.values().flatten().map(Architecture::hash);
        let evaluated = self.seen.iter().map(|seen| seen.hash);
        let mut taken: BTreeSet<ArchitectureHash> = evaluated.chain(awaited).collect();
        let objective = |index: &usize| self.state.evaluated[*index].objective;
        let mut parents = known.to_vec();
        parents.sort_by(|a, b| objective(a).total_cmp(&objective(b)).then(a.cmp(b)));
        parents.truncate(self.settings.parents);
        let evolve = self.space.evolve().ok_or_else(|| wrong("the space does not mutate"))?;
        let mut candidates = Vec::new();
        for index in 0..self.settings.candidates {
            let parent = &self.state.evaluated[parents[index % parents.len()]].arch;
            let mutated = evolve.mutate(parent, turn.rng.next_u64());
            let mutated = mutated.map_err(|error| wrong(format!("mutation: {error}")))?;
            // A sample that the space cannot give is no candidate.
            let sampled = self.space.sample(Phase::Score, turn.rng.next_u64()).ok();
            for arch in std::iter::once(mutated).chain(sampled) {
                if taken.insert(arch.hash()) {
                    candidates.extend(self.features(&arch)?.map(|features| (arch, features)));
                }
            }
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
        let evaluated = self.state.evaluated.len();
        let begun = evaluated + turn.awaited.len() >= self.settings.initial;
        if begun && self.state.queue.is_empty() {
            let known = self.look()?;
            if known.len() >= 2 {
                self.choose(&known, turn)?;
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
        (self.state, self.seen) = (state, Vec::new());
        Ok(())
    }
}

fn wrong(reason: impl std::fmt::Display) -> SearcherError {
    SearcherError(format!("{}: {reason}", Bananas::ID))
}

/// A draw of the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
