//! Wrong settings, spaces, states and outcomes.

use std::sync::Arc;

use ghnas_core::{Architecture, CandidateId, Catalogue, Encoder, EncoderError, Outcome, Settings};
use serde_json::json;

use crate::world::{ALL, Engine, World, context};

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
        ("bananas", json!({"encoding": "path"}), "encoding: unknown variant `path`, expected"),
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

#[test]
fn bananas_on_embeddings_needs_an_encoder() {
    let world = World::new();
    let settings = json!({"encoding": "embedding"}).as_object().unwrap().clone();
    let context = context(&world.catalogue, 0, Some(&world.space));
    let built = world.catalogue.searchers.build("bananas", &settings, &context);
    assert_eq!(
        built.err().unwrap().to_string(),
        "searcher 'bananas': encoding = \"embedding\": there is no trained weight generator to \
         embed networks"
    );
}

/// Has a vector for none, or fails.
struct Blind(Option<&'static str>);

impl Encoder for Blind {
    fn encode(&self, _: &Architecture) -> Result<Option<Arc<[f32]>>, EncoderError> {
        self.0.map_or(Ok(None), |words| Err(EncoderError(words.into())))
    }
}

#[test]
fn an_encoder_that_fails_ends_the_search_and_one_without_vectors_leaves_samples() {
    let mut world = World::new();
    world.encoder = Arc::new(Blind(None));
    let mut engine = Engine::new(&world);
    let commands = engine.search(&mut *world.searcher("bananas on embeddings", 1), 40, 1);
    assert_eq!(commands.len(), 40);
    world.encoder = Arc::new(Blind(Some("the device is gone")));
    let mut searcher = world.searcher("bananas on embeddings", 1);
    Engine::new(&world).search(&mut *searcher, 10, 1);
    let error = searcher.suggest(1).unwrap_err().to_string();
    assert_eq!(error, "searcher: bananas: embeddings: the device is gone");
}
