//! NAS-Bench-201's cells with an invented objective whose optimum is known, and an engine that
//! evaluates them.

use std::sync::Arc;

use ghnas_core::{
    Architecture, BuildContext, CandidateId, Catalogue, Command, Encoder, EncoderError, Outcome,
    Phase, SearchSpace, Searcher, Settings,
};
use serde_json::json;

/// The searchers of this crate.
pub(crate) const ALL: [&str; 6] = [
    "regularized-evolution",
    "local-search",
    "reinforce",
    "bananas",
    "successive-halving",
    "nsga2",
];

/// As [`ALL`], and `bananas` on embeddings.
pub(crate) const ALL_WAYS: [&str; 7] = [
    "regularized-evolution",
    "local-search",
    "reinforce",
    "bananas",
    "bananas on embeddings",
    "successive-halving",
    "nsga2",
];

/// A world to search: a space, and what each architecture is worth.
pub(crate) struct World {
    pub(crate) catalogue: Catalogue,
    pub(crate) space: Arc<dyn SearchSpace>,
    pub(crate) encoder: Arc<dyn Encoder>,
}

/// What is on each edge, as a weight generator's embedding might tell it: turned, of different
/// sizes, and with an element that says nothing. A cell of nothing but `none` has no vector.
struct Turned(Arc<dyn SearchSpace>);

impl Encoder for Turned {
    fn encode(&self, arch: &Architecture) -> Result<Option<Arc<[f32]>>, EncoderError> {
        let operations = operations(&*self.0, &arch.canonical());
        let element = |row: usize| {
            let terms = operations.iter().enumerate().map(|(edge, op)| {
                let number = (31 * row + 5 * edge + op) as f32;
                (number * number).sin()
            });
            (1 + row % 3) as f32 * terms.sum::<f32>() - row as f32
        };
        let vector: Arc<[f32]> = (0..24).map(element).chain([0.25]).collect();
        Ok((operations != [0; 6]).then_some(vector))
    }
}

pub(crate) fn context<'a>(
    catalogue: &'a Catalogue,
    seed: u64,
    space: Option<&'a Arc<dyn SearchSpace>>,
) -> BuildContext<'a> {
    BuildContext { seed, space, ..BuildContext::new(catalogue) }
}

impl World {
    pub(crate) fn new() -> Self {
        let catalogue = Catalogue::built_in().unwrap();
        let settings = &catalogue.spaces.get("nas-bench-201").unwrap().presets[0].settings;
        let context = context(&catalogue, 0, None);
        let space = catalogue.spaces.build("nas-bench-201", settings, &context).unwrap();
        Self { encoder: Arc::new(Turned(space.clone())), space, catalogue }
    }

    pub(crate) fn build(
        &self,
        id: &str,
        settings: serde_json::Value,
        seed: u64,
    ) -> Result<Box<dyn Searcher>, String> {
        let settings: Settings = settings.as_object().unwrap().clone();
        let encoder = || Ok(self.encoder.clone());
        let context = context(&self.catalogue, seed, Some(&self.space));
        let context = BuildContext { encoder: &encoder, ..context };
        let built = self.catalogue.searchers.build(id, &settings, &context);
        built.map_err(|error| error.to_string())
    }

    pub(crate) fn searcher(&self, id: &str, seed: u64) -> Box<dyn Searcher> {
        let (id, mut settings) = match id.strip_suffix(" on embeddings") {
            Some(id) => (id, small(id)),
            None => return self.build(id, small(id), seed).unwrap(),
        };
        settings["encoding"] = "embedding".into();
        self.build(id, settings, seed).unwrap()
    }
}

/// Settings for a few hundred evaluations and quick tests.
fn small(id: &str) -> serde_json::Value {
    match id {
        "regularized-evolution" => json!({"population": 10, "sample": 3}),
        "bananas" => json!({"networks": 3, "epochs": 50}),
        "successive-halving" => json!({"initial": 27, "eta": 3, "rungs": 3}),
        "nsga2" => json!({"population": 10}),
        _ => json!({}),
    }
}

/// The operations on the six edges of a cell, as numbers from 0 (`none`) to 4.
pub(crate) fn operations(space: &dyn SearchSpace, arch: &Architecture) -> [usize; 6] {
    let text = space.format(arch);
    let names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
    let edges = text.split(['|', '+']).filter(|part| !part.is_empty());
    let number = |edge: &str| {
        let name = edge.split('~').next().unwrap();
        names.iter().position(|known| *known == name).unwrap()
    };
    let numbers: Vec<usize> = edges.map(number).collect();
    numbers.try_into().unwrap()
}

/// Costs of operations by edge, with a little interaction between neighbouring edges: 0 at the one
/// best cell, up to about 12.
pub(crate) fn cost(operations: [usize; 6]) -> f64 {
    let costs = [
        [1.5, 0.8, 0.4, 0.0, 2.0],
        [2.0, 0.0, 1.1, 0.5, 0.9],
        [0.9, 1.6, 0.0, 0.7, 2.0],
        [1.2, 2.0, 0.6, 0.0, 0.3],
        [0.0, 0.4, 1.3, 2.0, 1.0],
        [2.0, 1.0, 0.5, 0.0, 1.4],
    ];
    let alone: f64 = operations.iter().zip(costs).map(|(&op, costs)| costs[op]).sum();
    let best = [3, 1, 2, 3, 0, 3];
    let wrong: Vec<bool> = operations.iter().zip(best).map(|(op, best)| *op != best).collect();
    alone + 0.3 * wrong.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64
}

/// Multiply-adds of the same invented world.
pub(crate) fn multiply_adds(operations: [usize; 6]) -> u64 {
    operations.iter().map(|&op| [0, 1, 20, 90, 5][op]).sum()
}

/// Runs commands as the engine does.
pub(crate) struct Engine<'a> {
    world: &'a World,
    /// By candidate; none where the evaluation failed.
    pub(crate) archs: Vec<Option<Architecture>>,
    /// What was reported.
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether the evaluation of a candidate fails.
    pub(crate) fails: fn(u64) -> bool,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, archs: Vec::new(), outcomes: Vec::new(), fails: |_| false }
    }

    pub(crate) fn run(&mut self, command: &Command) -> Outcome {
        let space = &*self.world.space;
        let of = |id: &CandidateId| {
            assert!(self.outcomes.iter().any(|outcome| outcome.candidate == *id), "{command:?}");
            self.archs[id.0 as usize].clone().unwrap()
        };
        let evolve = || space.evolve().unwrap();
        let arch = match command {
            Command::Sample { seed } => space.sample(Phase::Score, *seed).unwrap(),
            Command::Mutate { parent, seed } => evolve().mutate(&of(parent), *seed).unwrap(),
            Command::Cross { first, second, seed } => {
                evolve().cross(&of(first), &of(second), *seed).unwrap()
            }
            Command::Evaluate { arch } => arch.clone(),
            Command::Promote { candidate, .. } => of(candidate),
        };
        space.validate(&arch).unwrap();
        let rung = if let Command::Promote { rung, .. } = command { *rung } else { 0 };
        let candidate = CandidateId(self.archs.len() as u64);
        let worth = operations(space, &arch);
        let failed = (self.fails)(candidate.0);
        let objective = if failed { f64::NAN } else { cost(worth) };
        self.archs.push(Some(arch).filter(|_| !failed));
        Outcome { candidate, objective, multiply_adds: multiply_adds(worth), rung }
    }

    /// Asks for `at_once` candidates at a time, up to `budget`; the last ones are reported first.
    pub(crate) fn search(
        &mut self,
        searcher: &mut dyn Searcher,
        budget: usize,
        at_once: usize,
    ) -> Vec<Command> {
        let mut all = Vec::new();
        let mut awaited: Vec<Outcome> = Vec::new();
        while all.len() < budget {
            let commands = searcher.suggest(at_once.min(budget - all.len())).unwrap();
            if commands.is_empty() && awaited.is_empty() {
                break;
            }
            for command in &commands {
                let outcome = self.run(command);
                awaited.push(outcome);
            }
            all.extend(commands);
            // All but one, which stays out while the next are asked for.
            let keep = usize::from(at_once > 1 && awaited.len() > 1);
            let mut done = awaited.split_off(keep);
            done.reverse();
            searcher.report(&done).unwrap();
            self.outcomes.extend(done);
        }
        searcher.report(&awaited).unwrap();
        self.outcomes.extend(awaited);
        all
    }

    pub(crate) fn best(&self) -> f64 {
        let objectives = self.outcomes.iter().map(|outcome| outcome.objective);
        objectives.filter(|objective| objective.is_finite()).fold(f64::INFINITY, f64::min)
    }
}
