//! Every kind of plugin through its library, as the app gets it.

use crate::common::{catalogue, context, example, library, space};
use ghnas_core::{
    Command, Dag, GeneratorError, Outcome, ParamId, Phase, Settings, StepOptions, Task, Weights,
};

#[test]
fn a_space_samples_evolves_and_lowers_with_operations_of_the_host() {
    let catalogue = catalogue(&[&example("space")]);
    let space = space(&catalogue, "example-space").unwrap();
    let arch = space.sample(Phase::Score, 3).unwrap();
    assert_eq!(arch, space.sample(Phase::Score, 3).unwrap());
    let other = space.sample(Phase::Score, 4).unwrap();
    let network = space.lower(&arch, Task::CIFAR10).unwrap();
    assert_eq!(network.modules().len(), 5);
    let evolve = space.evolve().unwrap();
    let child = evolve.cross(&evolve.mutate(&arch, 1).unwrap(), &other, 2).unwrap();
    space.validate(&child).unwrap();
    let text = arch.to_string().replace("\"inputs\":[0]", "\"inputs\":[]");
    let error = space.parse(&text).unwrap_err().to_string();
    assert!(error.starts_with("motif 'motif', node 1: "), "the plugin's own words: {error}");
    let source = &catalogue.spaces.get("example-space").unwrap().source;
    assert!(source.contains("ghnas-example-space") && source.contains(".so"), "{source}");
}

/// The cell space, a plugin, with an operation of another plugin beside a built-in one.
#[test]
fn an_operation_of_another_plugin_is_found_by_name() {
    let catalogue = catalogue(&[&example("operation"), &library("ghnas_space_cell")]);
    let mut settings = catalogue.spaces.get("cell").unwrap().presets[0].settings.clone();
    settings.insert("operations".into(), serde_json::json!(["example-operation", "conv_1x1"]));
    let space = catalogue.spaces.build("cell", &settings, &context(&catalogue)).unwrap();
    let arch = space.sample(Phase::Score, 1).unwrap();
    let network = space.lower(&arch, Task::CIFAR10).unwrap();
    assert!(network.params().iter().any(|param| param.kind == "squeeze"));
    settings.insert("operations".into(), serde_json::json!(["example-operatino"]));
    let error = catalogue.spaces.build("cell", &settings, &context(&catalogue)).err().unwrap();
    assert!(error.to_string().contains("did you mean 'example-operation'?"), "{error}");
}

#[test]
fn a_searcher_proposes_learns_and_is_restored() {
    let catalogue = catalogue(&[&example("searcher")]);
    let build = || {
        let built =
            catalogue.searchers.build("example-searcher", &Settings::new(), &context(&catalogue));
        built.unwrap()
    };
    let mut searcher = build();
    let commands = searcher.suggest(8).unwrap();
    assert_eq!(commands.len(), 8);
    let outcomes =
        [(0, 3.0), (1, f64::INFINITY), (2, 1.0), (3, f64::NAN)].map(|(candidate, objective)| {
            let candidate = ghnas_core::CandidateId(candidate);
            Outcome { candidate, objective, multiply_adds: 1, rung: 0 }
        });
    searcher.report(&outcomes).unwrap();
    let mut again = build();
    again.load(&searcher.save().unwrap()).unwrap();
    let next = searcher.suggest(2).unwrap();
    assert!(matches!(next[0], Command::Mutate { parent, .. } if parent.0 == 2), "{next:?}");
    assert_eq!(again.suggest(2).unwrap(), next);
    assert!(again.load(b"short").unwrap_err().to_string().contains("length"));
}

#[test]
fn a_propagator_gives_a_schedule() {
    let catalogue = catalogue(&[&example("propagator")]);
    let build = |id| catalogue.propagators.build(id, &Settings::new(), &context(&catalogue));
    let graph = Dag::new(vec![vec![], vec![0], vec![0, 1]]).unwrap();
    let schedule = build("example-propagator").unwrap().schedule(&graph, 2).unwrap();
    assert_eq!(schedule.update_count(), 6);
    assert_eq!(schedule.steps[2].messages, [(0, 2), (1, 2)]);
}

#[test]
fn a_generator_trains_and_is_restored_to_the_bit() {
    let catalogue = catalogue(&[&example("generator"), &example("space")]);
    let space = space(&catalogue, "example-space").unwrap();
    let network =
        |seed| space.lower(&space.sample(Phase::Train, seed).unwrap(), Task::CIFAR10).unwrap();
    let build = || {
        let settings = Settings::new();
        catalogue.generators.build("example-generator", &settings, &context(&catalogue)).unwrap()
    };
    let (first, second) = (network(1), network(2));
    let mut generator = build();
    let mut weights = Weights::zeros_for(first.params());
    let ticket = generator.generate(&first, &mut weights).unwrap();
    assert!(weights.get(ParamId(0)).iter().any(|&value| value != 0.0));
    assert!(generator.parameter_count() > 0);
    let mut gradients = Weights::zeros_for(first.params());
    gradients.get_mut(ParamId(0)).fill(1.0);
    generator.vjp(ticket, &gradients).unwrap();
    let used = generator.vjp(ticket, &gradients).unwrap_err();
    assert!(matches!(used, GeneratorError::Ticket(_)), "{used}");
    let options = StepOptions { learning_rate: 0.5, clip_norm: f64::INFINITY };
    let report = generator.step(options).unwrap();
    let expected = (gradients.get(ParamId(0)).len() as f64).sqrt();
    assert!(report.applied && (report.gradient_norm - expected).abs() < 1e-6);
    let before = weights.get(ParamId(0))[0];
    generator.predict(&first, &mut weights).unwrap();
    assert_eq!(weights.get(ParamId(0))[0], before - 0.5);

    let mut again = build();
    again.load(&generator.save().unwrap()).unwrap();
    for network in [&first, &second] {
        let mut own = Weights::zeros_for(network.params());
        let mut others = Weights::zeros_for(network.params());
        generator.predict(network, &mut own).unwrap();
        again.predict(network, &mut others).unwrap();
        assert_eq!(own.as_slice(), others.as_slice());
    }
}

/// Lines of code, all in one file: 20 for a space of known operations, 40 for a new operation.
#[test]
fn examples_are_short() {
    for (kind, most) in [("space", 20), ("operation", 40)] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("../examples").join(kind).join("src/lib.rs");
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().map(str::trim);
        let count = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(count <= most, "{kind}: {count} lines");
    }
}
