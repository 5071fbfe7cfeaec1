//! What an ensemble of GHNs promises, on networks of the cell space.

use ghnas_core::registry::BuildContext;
use ghnas_core::{Catalogue, Network, Phase, Settings, Shape, StepOptions, Task};
use ghnas_core::{GeneratorError, WeightGenerator, Weights};
use ghnas_ghn as _;
use ghnas_space_cell as _;

const STEP: StepOptions = StepOptions { learning_rate: 1e-3, clip_norm: 5.0 };

fn built(settings: &str, seed: u64) -> Result<Box<dyn WeightGenerator>, String> {
    let settings: Settings = serde_json::from_str(settings).unwrap();
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext { seed, ..BuildContext::new(&catalogue) };
    let built = catalogue.generators.build("ensemble", &settings, &context);
    built.map_err(|error| error.to_string())
}

fn ensemble(seed: u64) -> Box<dyn WeightGenerator> {
    built(r#"{"members": 3, "settings": {"rounds": 1, "average": 0.9}}"#, seed).unwrap()
}

fn network(seed: u64) -> Network {
    let catalogue = Catalogue::built_in().unwrap();
    let preset = &catalogue.spaces.get("cell").unwrap().presets[0];
    let context = BuildContext::new(&catalogue);
    let space = catalogue.spaces.build("cell", &preset.settings, &context).unwrap();
    let task = Task { image: Shape::new(3, 32, 32), classes: 10 };
    space.lower(&space.sample(Phase::Train, seed).unwrap(), task).unwrap()
}

fn predict(generator: &mut dyn WeightGenerator, network: &Network) -> Vec<f32> {
    let mut weights = Weights::zeros_for(network.params());
    generator.predict(network, &mut weights).unwrap();
    weights.as_slice().to_vec()
}

fn predict_all(ensemble: &mut dyn WeightGenerator, network: &Network) -> Vec<Vec<f32>> {
    ensemble.members().iter_mut().map(|member| predict(&mut **member, network)).collect()
}

/// Makes a step along a gradient that is not that of anything.
fn step(generator: &mut dyn WeightGenerator, network: &Network) {
    let mut weights = Weights::zeros_for(network.params());
    let ticket = generator.generate(network, &mut weights).unwrap();
    let values = weights.as_mut_slice().iter_mut().enumerate();
    values.for_each(|(at, value)| *value = (at as f32 * 0.37).sin() * 1e-3);
    generator.vjp(ticket, &weights).unwrap();
    generator.step(STEP).unwrap();
}

#[test]
fn members_differ_and_learn_in_turn() {
    let (mut ensemble, network) = (ensemble(1), network(0));
    let mut before = predict_all(&mut *ensemble, &network);
    assert_eq!(before.len(), 3);
    assert!(before[0] != before[1] && before[1] != before[2] && before[0] != before[2]);
    assert_eq!(predict(&mut *ensemble, &network), before[0]);
    for turn in [0, 1, 2, 0] {
        step(&mut *ensemble, &network);
        let after = predict_all(&mut *ensemble, &network);
        let moved: Vec<usize> = (0..3).filter(|&member| after[member] != before[member]).collect();
        assert_eq!(moved, [turn]);
        before = after;
    }
    let one = ensemble.members()[0].parameter_count();
    assert_eq!(ensemble.parameter_count(), 3 * one);
}

#[test]
fn it_goes_on_from_its_state_to_the_bit() {
    let (mut one, network) = (ensemble(1), network(0));
    (0..4).for_each(|_| step(&mut *one, &network));
    let state = one.save().unwrap();
    let mut other = ensemble(2);
    other.load(&state).unwrap();
    assert_eq!(other.save().unwrap(), state);
    (0..4).for_each(|_| {
        step(&mut *one, &network);
        step(&mut *other, &network);
    });
    assert_eq!(predict_all(&mut *one, &network), predict_all(&mut *other, &network));
}

#[test]
fn state_that_does_not_fit_changes_nothing() {
    let (mut one, network) = (ensemble(1), network(0));
    step(&mut *one, &network);
    let good = one.save().unwrap();
    let mut other = ensemble(2);
    step(&mut *other, &network);
    let before = other.save().unwrap();
    let refused = |other: &mut dyn WeightGenerator, state| match other.load(&state).unwrap_err() {
        GeneratorError::State { name, .. } => name,
        error => panic!("{error}"),
    };
    let mut state = good.clone();
    state.entries.insert("turn".into(), "3".into());
    assert_eq!(refused(&mut *other, state), "turn");
    let mut state = good.clone();
    state.entries.insert("member 3/seed".into(), "7".into());
    assert_eq!(refused(&mut *other, state), "member 3/seed");
    // The last member refuses what the others have taken.
    let mut state = good.clone();
    state.entries.insert("member 2/seed".into(), "no number".into());
    refused(&mut *other, state);
    assert_eq!(other.save().unwrap(), before);
    other.load(&good).unwrap();
}

#[test]
fn tickets_are_of_the_member_that_made_them() {
    let (mut ensemble, network) = (ensemble(1), network(0));
    let mut weights = Weights::zeros_for(network.params());
    let ticket = ensemble.generate(&network, &mut weights).unwrap();
    let dropped = ensemble.generate(&network, &mut weights).unwrap();
    ensemble.discard(dropped);
    assert!(matches!(ensemble.vjp(dropped, &weights), Err(GeneratorError::Ticket(_))));
    ensemble.vjp(ticket, &weights).unwrap();
    assert!(matches!(ensemble.vjp(ticket, &weights), Err(GeneratorError::Ticket(_))));
}

#[test]
fn wrong_settings_name_their_key() {
    let error = |settings| built(settings, 0).err().unwrap();
    assert!(error(r#"{"members": 0}"#).contains("members = 0, expected 1 to 1000"));
    assert!(error(r#"{"generator": "gnh"}"#).contains("generator: "));
    assert!(error(r#"{"settings": {"hidden": 0}}"#).contains("hidden = 0"));
    assert!(error(r#"{"settings": {"wings": 2}}"#).contains("wings"));
}

#[test]
fn embeddings_are_those_of_the_first_member() {
    let (mut ensemble, network) = (ensemble(1), network(0));
    let all = ensemble.embed().unwrap().embedding(&network).unwrap();
    let first = ensemble.members()[0].embed().unwrap().embedding(&network).unwrap();
    assert_eq!(all, first);
}
