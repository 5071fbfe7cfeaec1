//! What every searcher keeps to: repeatable, saved to the byte, robust to failures, and an end.

use std::collections::BTreeSet;

use ghnas_core::{CandidateId, Command, Outcome, Searcher};

use crate::world::{ALL_WAYS, Engine, World};

#[test]
fn same_seed_same_commands_and_another_seed_others() {
    let world = World::new();
    for id in ALL_WAYS {
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
    for id in ALL_WAYS {
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
    for id in ALL_WAYS {
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
