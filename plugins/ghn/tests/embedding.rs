//! The GHN's embeddings of networks, against numbers by hand and on networks of the cell space.

use ghnas_core::{
    BuildContext, Catalogue, GeneratorState, Network, NetworkBuilder, Phase, Settings, Shape,
    StateTensor, Task, ValueId, WeightGenerator,
};
use ghnas_ghn as _;
use ghnas_space_cell as _;

fn ghn(settings: serde_json::Value) -> Box<dyn WeightGenerator> {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext { seed: 3, ..BuildContext::new(&catalogue) };
    let settings: Settings = settings.as_object().unwrap().clone();
    catalogue.generators.build("ghn", &settings, &context).unwrap()
}

fn embed(ghn: &mut dyn WeightGenerator, network: &Network) -> Vec<f32> {
    ghn.embed().unwrap().embedding(network).unwrap()
}

/// What is learned of a GHN with one unit a layer: the name, its values.
const LEARNED: [(&str, &[f32]); 11] = [
    ("message.0.weight", &[0.9]),
    ("message.0.bias", &[0.1]),
    ("message.1.weight", &[-0.8]),
    ("message.1.bias", &[0.3]),
    ("gru.input.weight", &[0.4, -0.6, 1.1]),
    ("gru.input.bias", &[0.1, 0.5, -0.2]),
    ("gru.state.weight", &[-0.3, 0.7, 0.8]),
    ("gru.state.bias", &[0.2, -0.1, 0.05]),
    ("embedding.a", &[0.7]),
    ("embedding.b", &[-0.4]),
    ("embedding.c", &[0.2]),
];

/// M(h) of Eq. 4.
fn m(h: f64) -> f64 {
    -0.8 * (0.9 * h + 0.1).max(0.0) + 0.3
}

/// U(h, message) of Eq. 3, a GRU.
fn u(h: f64, message: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let reset = sigmoid(0.4 * message + 0.1 - 0.3 * h + 0.2);
    let keep = sigmoid(-0.6 * message + 0.5 + 0.7 * h - 0.1);
    let new = (1.1 * message - 0.2 + reset * (0.8 * h + 0.05)).tanh();
    (1.0 - keep) * new + keep * h
}

/// Nodes a and b, both read by c; then a module whose only node, an a, reads the first one.
fn two_modules() -> Network {
    let mut network = NetworkBuilder::new(Shape::new(2, 1, 1), 2);
    network.module("first");
    let a = network.node("a", vec![], true).relu(ValueId::IMAGES).unwrap();
    let b = network.node("b", vec![], false).add(&[ValueId::IMAGES, a]).unwrap();
    let c = network.node("c", vec![0, 1], false).add(&[a, b]).unwrap();
    network.module("second");
    let logits = network.node("a", vec![], true).add(&[c, a]).unwrap();
    network.output(logits, 1.0);
    network.finish().unwrap()
}

/// The state with what is learned under one prefix, and numbers that nothing is made of under the
/// other.
fn taught(mut state: GeneratorState, [of, other]: [&str; 2]) -> GeneratorState {
    for (name, values) in LEARNED {
        let shape = state.tensors[&format!("parameter/{name}")].shape.clone();
        for (prefix, data) in [(of, values.to_vec()), (other, vec![9.0; values.len()])] {
            let tensor = StateTensor { shape: shape.clone(), data };
            state.tensors.insert(format!("{prefix}/{name}"), tensor);
        }
        state.entries.insert(format!("steps/{name}"), "1".into());
    }
    state
}

#[test]
fn it_is_the_mean_of_all_nodes_after_propagation_by_the_averages() {
    let [a, b, c] = [0.7, -0.4, 0.2];
    // Eq. 15, one round: a, b, c, then b and a, which hear c.
    let (next_a, next_b) = (u(a, 0.0), u(b, 0.0));
    let next_c = u(c, m(next_a) + m(next_b));
    let (next_b, next_a) = (u(next_b, m(next_c)), u(next_a, m(next_c)));
    let mean = (next_a + next_b + next_c) / 3.0;
    let expected = (next_a + next_b + next_c + u(a, mean)) / 4.0;
    let mut ghn = ghn(serde_json::json!({
        "rounds": 1, "hidden": 1, "message_hidden": 1, "hypernetwork_hidden": 1, "average": 0.5,
    }));
    let network = two_modules();
    let untaught = embed(&mut *ghn, &network);
    let state = ghn.save().unwrap();
    ghn.load(&taught(state.clone(), ["average", "parameter"])).unwrap();
    let [found] = embed(&mut *ghn, &network)[..] else { panic!("one unit") };
    assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
    assert_ne!(vec![found], untaught);
    // The values that training moves say nothing.
    ghn.load(&taught(state, ["parameter", "average"])).unwrap();
    let [other] = embed(&mut *ghn, &network)[..] else { panic!("one unit") };
    assert!((f64::from(other) - expected).abs() > 1e-2, "{other}");
}

#[test]
fn networks_of_any_size_have_embeddings_of_one_length() {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let preset = &catalogue.spaces.get("cell").unwrap().presets[0];
    let space = catalogue.spaces.build("cell", &preset.settings, &context).unwrap();
    let network =
        |phase, seed| space.lower(&space.sample(phase, seed).unwrap(), Task::CIFAR10).unwrap();
    let networks = [network(Phase::Train, 1), network(Phase::Score, 2), network(Phase::Score, 3)];
    let alone = networks.each_ref().map(|network| embed(&mut *ghn(serde_json::json!({})), network));
    let mut one = ghn(serde_json::json!({}));
    for (network, alone) in networks.iter().zip(&alone).rev() {
        // Whatever was embedded before.
        assert_eq!(&embed(&mut *one, network), alone);
        assert_eq!(alone.len(), 32);
        assert!(alone.iter().all(|x| x.is_finite()));
    }
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);
}
