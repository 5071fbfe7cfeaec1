//! The searchers through the catalogue, on NAS-Bench-201's cells with objectives whose optimum is
//! known.

use std::collections::BTreeSet;
use std::sync::Arc;

use ghnas_core::rng::derive_seed;
use ghnas_core::{
    Architecture, BuildContext, CandidateId, Catalogue, Command, Device, Outcome, Phase,
    SearchSpace, Searcher, Settings,
};
use serde_json::json;
use {ghnas_searchers as _, ghnas_space_nas_bench_201 as _};

const ALL: [&str; 6] = [
    "regularized-evolution",
    "local-search",
    "reinforce",
    "bananas",
    "successive-halving",
    "nsga2",
];

/// A world to search: a space, and what each architecture is worth.
struct World {
    catalogue: Catalogue,
    space: Arc<dyn SearchSpace>,
}

fn context<'a>(
    catalogue: &'a Catalogue,
    seed: u64,
    space: Option<&'a Arc<dyn SearchSpace>>,
) -> BuildContext<'a> {
    BuildContext { catalogue, seed, device: Device::Cpu, threads: 1, space }
}

impl World {
    fn new() -> Self {
        let catalogue = Catalogue::built_in().unwrap();
        let settings = &catalogue.spaces.get("nas-bench-201").unwrap().presets[0].settings;
        let context = context(&catalogue, 0, None);
        let space = catalogue.spaces.build("nas-bench-201", settings, &context);
        Self { space: space.unwrap(), catalogue }
    }

    fn build(
        &self,
        id: &str,
        settings: serde_json::Value,
        seed: u64,
    ) -> Result<Box<dyn Searcher>, String> {
        let settings: Settings = settings.as_object().unwrap().clone();
        let context = context(&self.catalogue, seed, Some(&self.space));
        let built = self.catalogue.searchers.build(id, &settings, &context);
        built.map_err(|error| error.to_string())
    }

    fn searcher(&self, id: &str, seed: u64) -> Box<dyn Searcher> {
        self.build(id, small(id), seed).unwrap()
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
fn operations(space: &dyn SearchSpace, arch: &Architecture) -> [usize; 6] {
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
fn cost(operations: [usize; 6]) -> f64 {
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
fn multiply_adds(operations: [usize; 6]) -> u64 {
    operations.iter().map(|&op| [0, 1, 20, 90, 5][op]).sum()
}

/// Runs commands as the engine does.
struct Engine<'a> {
    world: &'a World,
    archs: Vec<Option<Architecture>>,
    outcomes: Vec<Outcome>,
    /// Whether the evaluation of a candidate fails.
    fails: fn(u64) -> bool,
}

impl<'a> Engine<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, archs: Vec::new(), outcomes: Vec::new(), fails: |_| false }
    }

    fn run(&mut self, command: &Command) -> Outcome {
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
    fn search(
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

    fn best(&self) -> f64 {
        let objectives = self.outcomes.iter().map(|outcome| outcome.objective);
        objectives.filter(|objective| objective.is_finite()).fold(f64::INFINITY, f64::min)
    }
}

fn random_best(world: &World, seed: u64, budget: usize) -> f64 {
    let draw = |index| world.space.sample(Phase::Score, derive_seed(seed, "random", index));
    let costs = (0..budget as u64).map(|i| cost(operations(&*world.space, &draw(i).unwrap())));
    costs.fold(f64::INFINITY, f64::min)
}

#[test]
fn searchers_come_near_the_optimum_where_random_search_does_not() {
    let world = World::new();
    assert_eq!(cost([3, 1, 2, 3, 0, 3]), 0.0);
    const SEEDS: u64 = 8;
    // Mean best costs at the budget; that of random search is about 2 at 150 and 1.6 at 300.
    for (id, budget, most) in [
        ("regularized-evolution", 300, 0.4),
        ("local-search", 150, 0.1),
        ("reinforce", 300, 0.5),
        ("bananas", 100, 0.4),
        ("nsga2", 300, 0.6),
    ] {
        let best = |seed| {
            let mut engine = Engine::new(&world);
            engine.search(&mut *world.searcher(id, seed), budget, 1);
            assert_eq!(engine.outcomes.len(), budget);
            engine.best()
        };
        let found = (0..SEEDS).map(best).sum::<f64>() / SEEDS as f64;
        let random = (0..SEEDS).map(|s| random_best(&world, s, budget)).sum::<f64>() / SEEDS as f64;
        println!("{id}: {found} in {budget}, random {random}");
        assert!(found <= most && found < 0.5 * random, "{id}: {found}, random search {random}");
    }
}

#[test]
fn reinforce_learns_with_an_lstm_too() {
    let world = World::new();
    let settings = json!({"controller": "lstm", "learning_rate": 0.01});
    let mut engine = Engine::new(&world);
    engine.search(&mut *world.build("reinforce", settings, 1).unwrap(), 1000, 1);
    let mean = |outcomes: &[Outcome]| {
        outcomes.iter().map(|outcome| outcome.objective).sum::<f64>() / outcomes.len() as f64
    };
    let (first, last) = (mean(&engine.outcomes[..100]), mean(&engine.outcomes[900..]));
    assert!(last < 0.5 * first, "{first} to {last}");
}

#[test]
fn nsga2_spreads_over_the_pareto_front() {
    let world = World::new();
    let all = world.space.enumerate().unwrap();
    let points = |archs: &mut dyn Iterator<Item = Architecture>| -> BTreeSet<(u64, u64)> {
        archs
            .map(|arch| {
                let operations = operations(&*world.space, &arch);
                (multiply_adds(operations), (cost(operations) * 1000.0).round() as u64)
            })
            .collect()
    };
    // From cheap to dear, what is better than all cheaper ones.
    let front = |points: BTreeSet<(u64, u64)>| {
        let mut least = u64::MAX;
        let better = |&(_, cost): &(u64, u64)| {
            let before = least;
            least = before.min(cost);
            cost < before
        };
        points.into_iter().filter(better).collect::<Vec<_>>()
    };
    let truth = front(points(&mut (0..all.size()).map(|index| all.nth(index).unwrap())));
    // The area between both axes' far ends that a front dominates.
    let area = |front: &[(u64, u64)]| {
        let ends = front.iter().skip(1).map(|point| point.0).chain([540]);
        let parts =
            front.iter().zip(ends).map(|(&(adds, cost), end)| (end - adds) * (12_000 - cost));
        parts.sum::<u64>() as f64
    };
    let mut engine = Engine::new(&world);
    let mut searcher = world.build("nsga2", json!({"population": 20}), 4).unwrap();
    engine.search(&mut *searcher, 1000, 1);
    let found = front(points(&mut engine.archs.iter().flatten().cloned()));
    let part = area(&found) / area(&truth);
    assert!(part > 0.99, "{part} of the area of the front with {} points", truth.len());
}

#[test]
fn same_seed_same_commands_and_another_seed_others() {
    let world = World::new();
    for id in ALL {
        let commands =
            |seed, at_once| Engine::new(&world).search(&mut *world.searcher(id, seed), 40, at_once);
        assert_eq!(commands(1, 1), commands(1, 1), "{id}");
        assert_eq!(commands(1, 4), commands(1, 4), "{id}");
        assert_ne!(commands(1, 1), commands(2, 1), "{id}");
    }
}

#[test]
fn saved_at_any_point_a_search_goes_on_to_the_same_commands() {
    let world = World::new();
    for id in ALL {
        for at_once in [1, 3] {
            let mut whole = world.searcher(id, 3);
            let mut engine = Engine::new(&world);
            let expected = engine.search(&mut *whole, 38, at_once);

            let mut engine = Engine::new(&world);
            let mut commands = Vec::new();
            let mut searcher = world.searcher(id, 3);
            let mut awaited: Vec<Outcome> = Vec::new();
            // A save before and after every call, also while outcomes are awaited.
            let turn = |searcher: &mut Box<dyn Searcher>| {
                let state = searcher.save().unwrap();
                *searcher = world.searcher(id, 3);
                searcher.load(&state).unwrap();
                assert_eq!(searcher.save().unwrap(), state, "{id}");
            };
            while commands.len() < expected.len() {
                let more = searcher.suggest(at_once.min(38 - commands.len())).unwrap();
                awaited.extend(more.iter().map(|command| engine.run(command)));
                commands.extend(more);
                turn(&mut searcher);
                let keep = usize::from(at_once > 1 && awaited.len() > 1);
                let mut done = awaited.split_off(keep);
                done.reverse();
                searcher.report(&done).unwrap();
                engine.outcomes.extend(done);
                turn(&mut searcher);
            }
            assert_eq!(commands, expected, "{id}, {at_once} at once");
        }
    }
}

#[test]
fn failed_candidates_and_outcomes_out_of_order_do_no_harm() {
    let world = World::new();
    for id in ALL {
        for at_once in [1, 7] {
            let mut engine = Engine::new(&world);
            engine.fails = |candidate| candidate < 12 || candidate % 3 == 0;
            // A parent that failed has no architecture here, and panics.
            let commands = engine.search(&mut *world.searcher(id, 1), 120, at_once);
            let least = if id == "successive-halving" { 27 } else { 120 };
            assert!(commands.len() >= least, "{id}: {} commands", commands.len());
        }
        let mut engine = Engine::new(&world);
        engine.fails = |_| true;
        let commands = engine.search(&mut *world.searcher(id, 1), 60, 1);
        assert!(commands.len() >= 27, "{id}: {} commands", commands.len());
    }
}

#[test]
fn successive_halving_ends_after_its_last_rung() {
    let world = World::new();
    let mut engine = Engine::new(&world);
    let commands = engine.search(&mut *world.searcher("successive-halving", 1), 1000, 1);
    assert_eq!(commands.len(), 27 + 9 + 3);
    let last: BTreeSet<CandidateId> = commands[36..]
        .iter()
        .map(|command| match command {
            Command::Promote { candidate, rung: 2 } => *candidate,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut ranked: Vec<&Outcome> = engine.outcomes[..27].iter().collect();
    ranked.sort_by(|a, b| a.objective.total_cmp(&b.objective));
    assert_eq!(last, ranked[..3].iter().map(|outcome| outcome.candidate).collect());
}

#[test]
fn local_search_lists_every_cell_once_and_then_ends() {
    let world = World::new();
    let mut searcher = world.searcher("local-search", 9);
    let mut engine = Engine::new(&world);
    let size = world.space.enumerate().unwrap().size() as usize;
    let commands = engine.search(&mut *searcher, size + 1, 1000);
    let distinct: BTreeSet<String> = commands
        .iter()
        .map(|command| match command {
            Command::Evaluate { arch } => world.space.format(arch),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((commands.len(), distinct.len()), (size, size));
}

#[test]
fn local_search_moves_to_the_best_neighbour() {
    let world = World::new();
    let mut engine = Engine::new(&world);
    engine.search(&mut *world.searcher("local-search", 2), 49, 1);
    let of = |index: usize| operations(&*world.space, engine.archs[index].as_ref().unwrap());
    let apart = |a: [usize; 6], b: [usize; 6]| a.iter().zip(b).filter(|(a, b)| *a != b).count();
    let start = of(0);
    assert!((1..25).all(|index| apart(of(index), start) == 1));
    let best = (0..25).map(of).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap();
    assert!(best != start && (25..45).all(|index| apart(of(index), best) == 1));
}

#[test]
fn wrong_settings_are_refused_by_key() {
    let world = World::new();
    for (id, settings, expected) in [
        ("regularized-evolution", json!({"population": 0}), "population = 0, expected 1 to"),
        ("regularized-evolution", json!({"sample": 0}), "sample = 0, expected 1 to"),
        ("regularized-evolution", json!({"sample": -1}), "sample: invalid value"),
        ("regularized-evolution", json!({"smaple": 3}), "smaple: unknown field `smaple`"),
        ("local-search", json!({"neighbours": 0}), "neighbours = 0, expected 1 to"),
        ("local-search", json!({"neighbours": "all"}), "neighbours: invalid type"),
        ("reinforce", json!({"learning_rate": 0.0}), "learning_rate = 0, expected"),
        ("reinforce", json!({"baseline": 1.0}), "baseline = 1, expected 0 to"),
        ("reinforce", json!({"entropy": -0.5}), "entropy = -0.5, expected 0 to"),
        ("reinforce", json!({"controller": "gru"}), "controller: unknown variant `gru`"),
        ("bananas", json!({"initial": 1}), "initial = 1, expected 2 to"),
        ("bananas", json!({"networks": 0}), "networks = 0, expected 1 to"),
        ("bananas", json!({"learning_rate": 11}), "learning_rate = 11, expected"),
        ("successive-halving", json!({"eta": 1}), "eta = 1, expected 2 to"),
        ("successive-halving", json!({"rungs": 0}), "rungs = 0, expected 1 to"),
        ("successive-halving", json!({"initial": 26}), "initial = 26: none of them is left"),
        ("nsga2", json!({"population": 1}), "population = 1, expected 2 to"),
        ("nsga2", json!({"crossover": 1.5}), "crossover = 1.5, expected 0 to 1"),
    ] {
        let error = world.build(id, settings, 0).err().unwrap();
        let start = format!("searcher '{id}': {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn presets_build_and_list_all_settings() {
    let world = World::new();
    for id in ALL {
        for preset in &world.catalogue.searchers.get(id).unwrap().presets {
            world.build(id, json!(preset.settings), 0).unwrap();
        }
    }
}

#[test]
fn searchers_that_make_architectures_need_a_space() {
    let catalogue = Catalogue::built_in().unwrap();
    for id in ALL {
        let built = catalogue.searchers.build(id, &Settings::new(), &context(&catalogue, 0, None));
        match (id, built) {
            ("reinforce" | "bananas", built) => {
                let error = built.err().unwrap().to_string();
                assert!(error.contains("was given no space"), "{error}");
            }
            (_, built) => assert!(built.is_ok(), "{id}"),
        }
    }
}

#[test]
fn damaged_state_and_unknown_candidates_are_refused() {
    let world = World::new();
    for id in ALL {
        let mut searcher = world.searcher(id, 1);
        let candidate = CandidateId(5);
        let stray = Outcome { candidate, objective: 1.0, multiply_adds: 1, rung: 0 };
        let error = searcher.report(&[stray]).unwrap_err().to_string();
        assert_eq!(error, format!("searcher: {id}: no outcome of candidate 5 is awaited"));
        Engine::new(&world).search(&mut *searcher, 5, 1);
        searcher.suggest(1).unwrap();
        let state = String::from_utf8(searcher.save().unwrap()).unwrap();
        let other = world.searcher(ALL[usize::from(id == ALL[0])], 1).save().unwrap();
        for (damaged, expected) in [
            (&b"not a state"[..], "saved state: "),
            (&state.as_bytes()[..state.len() - 1], "saved state: EOF"),
            (&other[..], "saved state: "),
            (state.replace("\"given\":6", "\"given\":5").as_bytes(), "awaits candidate 5 after 5"),
        ] {
            let error = searcher.load(damaged).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(id), "{error}");
            // Nothing has changed.
            assert_eq!(searcher.save().unwrap(), state.as_bytes());
        }
    }
}
