//! What is made, what is shared, and the gradient, over the cell space.

use std::sync::Arc;

use ghnas_plugin_sdk::prelude::*;
use ghnas_space_cell as _;
use serde_json::json;

use super::{Memory, Smash, SmashSettings};

const TASK: Task = Task { image: Shape::new(3, 16, 16), classes: 10 };
const SMALL: SmashSettings = SmashSettings { group: 3, growth: 2, ..SmashSettings::DEFAULT };

/// The cell space, of two blocks of 4 and 8 channels.
fn space(nodes: usize) -> Arc<dyn SearchSpace> {
    let catalogue = Catalogue::built_in().unwrap();
    let mut settings = catalogue.spaces.get("cell").unwrap().presets[0].settings.clone();
    let changes = json!({
        "blocks": 2, "channels": 4, "reduce_after": [1], "nodes": nodes, "train_nodes": nodes,
    });
    settings.extend(changes.as_object().unwrap().clone());
    let context = BuildContext::new(&catalogue);
    catalogue.spaces.build("cell", &settings, &context).unwrap()
}

/// The network of a block with these nodes behind its two inputs.
fn network(nodes: &[(&str, &[usize])]) -> Network {
    let input = |index| json!({"op": "input", "attributes": {"index": index}});
    let mut all = vec![input(0), input(1)];
    all.extend(nodes.iter().map(|(op, inputs)| json!({"op": op, "inputs": inputs})));
    let motifs = json!([{"name": "cell", "nodes": all}]);
    let arch = json!({"schema": 1, "space": "cell", "motifs": motifs});
    let space = space(all.len());
    space.lower(&space.parse(&arch.to_string()).unwrap(), TASK).unwrap()
}

fn predict(model: &mut Smash, network: &Network) -> Weights {
    let mut weights = Weights::zeros_for(network.params());
    model.predict(network, &mut weights).unwrap();
    weights
}

fn find(network: &Network, name: &str) -> ParamId {
    let index = network.params().iter().position(|spec| spec.name == name);
    ParamId(index.unwrap_or_else(|| panic!("no parameter '{name}'")) as u32)
}

/// Gradients of a loss that is linear in the weights.
fn gradients(network: &Network) -> Weights {
    let mut gradients = Weights::zeros_for(network.params());
    for index in 0..network.params().len() as u32 {
        let values = gradients.get_mut(ParamId(index)).iter_mut();
        for (value, at) in values.zip(u64::from(index) * 17..) {
            *value = (at * 31 % 13) as f32 / 6.0 - 1.0;
        }
    }
    gradients
}

#[test]
fn the_memory_says_what_is_read_and_written() {
    // In canonical order nodes 2 and 3 are these; both are leaves.
    let network = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[0])]);
    let memories = Memory::all(&network, 3);
    let of = |name: &str| memories.iter().find(|it| it.param == find(&network, name)).unwrap();
    let names = |memory: &Memory| -> Vec<String> {
        memory.features.iter().map(|names| names.join(", ")).collect()
    };
    let channels = |groups: &[super::memory::Group]| -> Vec<(usize, usize)> {
        groups.iter().map(|group| (group.first, group.channels)).collect()
    };
    // Eight channels, by three, three and two.
    let pointwise = of("block2.node2.pointwise");
    assert_eq!(channels(&pointwise.rows), [(0, 3), (3, 3), (6, 2)]);
    assert_eq!(
        names(pointwise),
        [
            "module block2, op conv_1x1, write 2, groups 3, read 0, read 1",
            "row 0",
            "row 1",
            "row 2",
            "column 0",
            "column 1",
            "column 2",
        ]
    );
    // Two leaves of four channels side by side.
    let bottleneck = of("block2.node0.bottleneck");
    assert_eq!(channels(&bottleneck.columns), [(0, 3), (3, 1), (4, 3), (7, 1)]);
    assert_eq!(
        names(bottleneck),
        [
            "module block2, op input_0_reduce, write 0, groups 3",
            "row 0",
            "row 1",
            "row 2",
            "column 0, read 2",
            "column 1, read 2",
            "column 0, read 3",
            "column 1, read 3",
        ]
    );
    let weights: Vec<_> = bottleneck.weights(3).skip(8).take(8).collect();
    assert_eq!(weights, [(0, 3), (0, 4), (0, 5), (1, 3), (2, 3), (2, 4), (2, 5), (3, 3)]);
    assert_eq!(memories.len(), 2 * 2 + 2 * 2, "two 1x1 convolutions and two bottlenecks a block");
}

#[test]
fn every_gradient_is_that_of_finite_differences() {
    let network = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[0])]);
    let mut model = Smash::new(2, SMALL);
    let mut weights = Weights::zeros_for(network.params());
    let ticket = model.generate(&network, &mut weights).unwrap();
    let gradients = gradients(&network);
    model.vjp(ticket, &gradients).unwrap();
    let state = model.save().unwrap();
    let mut probe = Smash::new(2, SMALL);
    let mut loss = |state: &GeneratorState| -> f64 {
        probe.load(state).unwrap();
        let weights = predict(&mut probe, &network);
        let pairs = gradients.as_slice().iter().zip(weights.as_slice());
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    const EPSILON: f32 = 1e-3;
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (name, tensor) in &state.tensors {
        let banks = [&mut model.hypernetwork, &mut model.direct];
        let mut both = banks.into_iter().filter_map(|bank| bank.gradient_mut(name));
        let gradient = both.next().unwrap().to_vec();
        for at in (0..tensor.data.len()).step_by(tensor.data.len().div_ceil(40)) {
            let mut moved = state.clone();
            let mut at_distance = |distance: f32| {
                moved.tensors.get_mut(name).unwrap().data[at] = tensor.data[at] + distance;
                loss(&moved)
            };
            let difference =
                (at_distance(EPSILON) - at_distance(-EPSILON)) / f64::from(2.0 * EPSILON);
            let gradient = f64::from(gradient[at]);
            tried += 1;
            let size = difference.abs().max(gradient.abs()).max(0.1);
            if (difference - gradient).abs() > 0.01 * size {
                wrong.push(format!("{name}[{at}]: gradient {gradient}, difference {difference}"));
            }
        }
    }
    // Kinks of the rectification lie between the points now and then.
    assert!(tried > 500 && wrong.len() * 50 <= tried, "{} of {tried}: {wrong:#?}", wrong.len());
}

#[test]
fn made_kernels_have_the_norm_of_he_and_follow_the_architecture() {
    let one = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[1])]);
    let other = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[0])]);
    let mut model = Smash::new(2, SmashSettings::DEFAULT);
    let (of_one, of_other) = (predict(&mut model, &one), predict(&mut model, &other));
    for memory in Memory::all(&one, SmashSettings::DEFAULT.group) {
        let kernel = of_one.get(memory.param);
        let square: f32 = kernel.iter().map(|x| x * x).sum();
        let outputs = one.params()[memory.param.index()].shape[0] as f32;
        assert!((square - 2.0 * outputs).abs() < 1e-3 * square, "{square} {outputs}");
    }
    let same = |name| of_one.get(find(&one, name)) == of_other.get(find(&other, name));
    assert!(same("block2.node2.pointwise"), "what the node reads is the same");
    assert!(!same("block2.node3.pointwise"), "it reads another bank");
    assert!(same("block2.node3.depthwise"), "it is learned directly");
    assert!(same("head.node0.matrix"), "it is learned directly");
}

#[test]
fn nodes_of_a_module_share_what_is_learned_directly() {
    let network =
        network(&[("sep_conv_3x3", &[0]), ("sep_conv_5x5", &[0, 1]), ("dil_conv_3x3", &[2])]);
    let mut model = Smash::new(2, SmashSettings::DEFAULT);
    let weights = predict(&mut model, &network);
    let kernel = |name: &str| weights.get(find(&network, name)).to_vec();
    let op = |node: usize| network.modules()[1].nodes[node].op.as_str();
    assert_eq!([op(2), op(3), op(4)], ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3"]);
    assert_eq!(kernel("block1.node2.depthwise"), kernel("block1.node4.depthwise"));
    assert_ne!(kernel("block1.node2.depthwise"), kernel("block2.node2.depthwise")[..36]);
    // A kernel of 3x3 is the centre of that of 5x5.
    let centre: Vec<f32> = kernel("block1.node3.depthwise")
        .chunks(25)
        .flat_map(|taps| [6, 7, 8, 11, 12, 13, 16, 17, 18].map(|tap| taps[tap]))
        .collect();
    assert_eq!(kernel("block1.node2.depthwise"), centre);
}

#[test]
fn isomorphic_architectures_have_equal_weights() {
    let one = network(&[("conv_1x1", &[0]), ("sep_conv_3x3", &[1, 2]), ("identity", &[0, 1])]);
    let two = network(&[("identity", &[1, 0]), ("sep_conv_3x3", &[4, 1]), ("conv_1x1", &[0])]);
    let mut model = Smash::new(2, SmashSettings::DEFAULT);
    let one = predict(&mut model, &one);
    assert_eq!(one.as_slice(), predict(&mut model, &two).as_slice());
}

#[test]
fn more_nodes_add_features_and_leaves_and_nothing_else() {
    let mut model = Smash::new(2, SmashSettings::DEFAULT);
    let mut count = |nodes: usize| {
        let space = space(nodes);
        for seed in 0..200 {
            let arch = space.sample(Phase::Score, seed).unwrap();
            predict(&mut model, &space.lower(&arch, TASK).unwrap());
        }
        model.parameter_count()
    };
    let (few, many) = (count(7), count(17));
    // A feature has a vector for every layer and tap, and one for the weights.
    let feature = 3 * 9 * 16 + 8 * 8;
    // Ten positions that are read or written, and the classifier's columns for ten leaves.
    let most = 10 * (2 * feature + 10 * 8);
    assert!(many - few <= most && many - few > most / 2, "{few} {many} {most}");
}

#[test]
fn saved_and_loaded_the_next_step_is_the_same() {
    let network = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[0])]);
    let gradients = gradients(&network);
    let step = |model: &mut Smash| {
        let ticket = model.generate(&network, &mut Weights::zeros_for(network.params())).unwrap();
        model.vjp(ticket, &gradients).unwrap();
        let report = model.step(StepOptions { learning_rate: 1e-2, clip_norm: 5.0 }).unwrap();
        assert!(report.applied);
        predict(model, &network)
    };
    let mut model = Smash::new(2, SmashSettings::DEFAULT);
    step(&mut model);
    let mut state = model.save().unwrap();
    let mut loaded = Smash::new(2, SmashSettings::DEFAULT);
    loaded.load(&state).unwrap();
    assert_eq!(loaded.save().unwrap(), state);
    let before = predict(&mut loaded, &network);
    let (one, two) = (step(&mut model), step(&mut loaded));
    assert_eq!(one.as_slice(), two.as_slice());
    assert_ne!(before.as_slice(), two.as_slice());

    // A tensor of either kind that does not fit leaves both as they were.
    let kept = loaded.save().unwrap();
    let name = kept.tensors.keys().find(|name| name.starts_with("head.")).unwrap();
    state.tensors.get_mut(name).unwrap().data.pop();
    assert!(loaded.load(&state).is_err());
    assert_eq!(loaded.save().unwrap(), kept);
}

#[test]
fn what_is_scored_is_made_from_averages_and_what_is_trained_from_the_newest() {
    let network = network(&[("conv_1x1", &[0, 1]), ("sep_conv_3x3", &[0])]);
    let average = Averaging::new(0.5).unwrap();
    let mut model = Smash::new(2, SmashSettings { average, ..SMALL });
    let mut plain = Smash::new(2, SMALL);
    let step = |model: &mut Smash| {
        let ticket = model.generate(&network, &mut Weights::zeros_for(network.params())).unwrap();
        model.vjp(ticket, &gradients(&network)).unwrap();
        model.step(StepOptions { learning_rate: 1e-2, clip_norm: 5.0 }).unwrap();
    };
    step(&mut model);
    step(&mut plain);
    let mut newest = Weights::zeros_for(network.params());
    model.generate(&network, &mut newest).unwrap();
    let (scored, expected) = (predict(&mut model, &network), predict(&mut plain, &network));
    assert_eq!(newest.as_slice(), expected.as_slice());
    for (index, spec) in network.params().iter().enumerate() {
        let id = ParamId(index as u32);
        assert_ne!(scored.get(id), newest.get(id), "{}", spec.name);
    }
    // The averages themselves, as newest values.
    let mut state = model.save().unwrap();
    for (name, tensor) in state.tensors.clone() {
        if let Some(of) = name.strip_prefix("average of ") {
            state.tensors.insert(of.into(), tensor);
            state.tensors.remove(&name);
        }
    }
    plain.load(&state).unwrap();
    assert_eq!(scored.as_slice(), predict(&mut plain, &network).as_slice());
}

#[test]
fn settings_are_checked() {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let build = |key: &str, value: serde_json::Value| {
        let mut settings = settings_of(&SmashSettings::DEFAULT);
        settings.insert(key.into(), value);
        let built = catalogue.generators.build("smash", &settings, &context);
        built.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(build("group", 4.into()), Ok(()));
    for (key, value, words) in [
        ("group", json!(0), "group = 0, expected 1 to 64"),
        ("growth", json!(1000), "growth = 1000, expected 1 to 256"),
        ("layers", json!(0), "layers = 0, expected 1 to 32"),
        ("grwoth", json!(1), "grwoth"),
        (
            "adam",
            json!({"beta1": 1.0, "beta2": 0.9, "epsilon": 1e-4, "weight_decay": 0.0}),
            "adam.beta1 = 1, expected 0 to 1",
        ),
    ] {
        let error = build(key, value).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
