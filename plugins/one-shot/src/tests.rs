//! What is shared and what is not, over the cell space.

use std::collections::BTreeMap;
use std::sync::Arc;

use ghnas_plugin_sdk::prelude::*;
use ghnas_space_cell as _;
use serde_json::{Value, json};

use super::{OneShot, OneShotSettings};

const TASK: Task = Task { image: Shape::new(3, 16, 16), classes: 10 };
const OPTIONS: StepOptions = StepOptions { learning_rate: 0.1, clip_norm: 1e9 };

/// The cell space, of two blocks of 4 and 8 channels.
fn space(operations: &[&str], nodes: usize) -> Arc<dyn SearchSpace> {
    let catalogue = Catalogue::built_in().unwrap();
    let mut settings = catalogue.spaces.get("cell").unwrap().presets[0].settings.clone();
    let changes = json!({
        "blocks": 2, "channels": 4, "reduce_after": [1],
        "operations": operations, "nodes": nodes, "train_nodes": nodes,
    });
    settings.extend(changes.as_object().unwrap().clone());
    let context = BuildContext::new(&catalogue);
    catalogue.spaces.build("cell", &settings, &context).unwrap()
}

/// The network of a block with these nodes behind its two inputs.
fn network(space: &dyn SearchSpace, nodes: &[(&str, Vec<usize>)]) -> Network {
    let input = |index| json!({"op": "input", "attributes": {"index": index}});
    let mut all = vec![input(0), input(1)];
    all.extend(nodes.iter().map(|(op, inputs)| json!({"op": op, "inputs": inputs})));
    let arch: Value = json!({"schema": 1, "space": "cell", "motifs": [
        {"name": "cell", "nodes": all},
    ]});
    space.lower(&space.parse(&arch.to_string()).unwrap(), TASK).unwrap()
}

fn select(model: &mut OneShot, network: &Network) -> Weights {
    let mut weights = Weights::zeros_for(network.params());
    model.predict(network, &mut weights).unwrap();
    weights
}

/// A step on `network` with a gradient of ones.
fn train(model: &mut OneShot, network: &Network) {
    let mut weights = Weights::zeros_for(network.params());
    let ticket = model.generate(network, &mut weights).unwrap();
    (0..weights.len() as u32).for_each(|index| weights.get_mut(ParamId(index)).fill(1.0));
    model.vjp(ticket, &weights).unwrap();
    model.step(OPTIONS).unwrap();
}

const OPERATIONS: [&str; 6] =
    ["identity", "conv_1x1", "sep_conv_3x3", "dil_conv_5x5", "conv_1x7_7x1", "max_pool_3x3"];

#[test]
fn architectures_share_what_node_and_operation_have_in_common_and_nothing_else() {
    let space = space(&OPERATIONS, 9);
    let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
    let (mut values, mut shared) = (BTreeMap::new(), 0);
    for seed in 0..12 {
        let network = space.lower(&space.sample(Phase::Train, seed).unwrap(), TASK).unwrap();
        let weights = select(&mut model, &network);
        for (index, spec) in network.params().iter().enumerate() {
            let NodeId { module, node } = spec.node;
            let node = &network.modules()[module].nodes[node];
            if !node.entry {
                let key = (spec.name.clone(), node.op.clone());
                let own = weights.get(ParamId(index as u32)).to_vec();
                let first = values.entry(key).or_insert_with(|| own.clone());
                assert_eq!(*first, own, "{} of {}", spec.name, node.op);
                shared += 1;
            }
        }
    }
    assert!(shared > 2 * values.len(), "{shared} selections of {}", values.len());
    let mut distinct: Vec<Vec<u32>> = Vec::new();
    distinct.extend(values.values().map(|own| own.iter().map(|x| x.to_bits()).collect()));
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), values.len(), "two nodes or operations have one tensor");
}

#[test]
fn a_leaf_has_its_own_columns_whatever_else_is_joined() {
    let space = space(&OPERATIONS, 5);
    // In canonical order nodes 2, 3 and 4 are these, and all of them leaves.
    let three = network(
        &*space,
        &[("conv_1x1", vec![0]), ("max_pool_3x3", vec![0]), ("sep_conv_3x3", vec![0])],
    );
    // Here node 2 feeds node 4.
    let two = network(
        &*space,
        &[("conv_1x1", vec![0]), ("max_pool_3x3", vec![0]), ("sep_conv_3x3", vec![0, 2])],
    );
    let leaves = |network: &Network| network.modules()[1].nodes.last().unwrap().inputs.clone();
    assert_eq!((leaves(&three), leaves(&two)), (vec![2, 3, 4], vec![3, 4]));
    let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
    let columns = |weights: &Weights, network: &Network, name: &str, leaf: usize| -> Vec<f32> {
        let index = network.params().iter().position(|spec| spec.name == name).unwrap();
        let row = network.params()[index].shape[1];
        let width = row / leaves(network).len();
        let start = width * leaves(network).iter().position(|&at| at == leaf).unwrap();
        let rows = weights.get(ParamId(index as u32)).chunks(row);
        rows.flat_map(|row| row[start..start + width].to_vec()).collect()
    };
    let (of_three, of_two) = (select(&mut model, &three), select(&mut model, &two));
    for name in ["block2.node0.bottleneck", "head.node0.matrix"] {
        for leaf in [3, 4] {
            let first = columns(&of_three, &three, name, leaf);
            assert_eq!(first, columns(&of_two, &two, name, leaf), "{name} {leaf}");
            assert_ne!(first, columns(&of_three, &three, name, 2), "{name} {leaf}");
        }
    }
}

#[test]
fn isomorphic_architectures_have_equal_weights() {
    let space = space(&OPERATIONS, 5);
    let one = network(
        &*space,
        &[("conv_1x1", vec![0]), ("sep_conv_3x3", vec![1, 2]), ("dil_conv_5x5", vec![0, 1])],
    );
    let two = network(
        &*space,
        &[("dil_conv_5x5", vec![1, 0]), ("sep_conv_3x3", vec![4, 1]), ("conv_1x1", vec![0])],
    );
    let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
    train(&mut model, &one);
    let (one, two) = (select(&mut model, &one), select(&mut model, &two));
    assert_eq!(one.as_slice(), two.as_slice());
}

#[test]
fn a_step_moves_the_sampled_path_alone() {
    let space = space(&OPERATIONS, 4);
    let trained = network(&*space, &[("conv_1x1", vec![0, 1]), ("sep_conv_3x3", vec![2])]);
    let other = network(&*space, &[("conv_1x1", vec![0, 1]), ("dil_conv_5x5", vec![2])]);
    let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
    let before = select(&mut model, &other);
    train(&mut model, &trained);
    let after = select(&mut model, &other);
    for (index, spec) in other.params().iter().enumerate() {
        let (before, after) = (before.get(ParamId(index as u32)), after.get(ParamId(index as u32)));
        // The operation of node 3 is the other's alone.
        assert_eq!(before == after, spec.name.contains(".node3."), "{}", spec.name);
    }
}

#[test]
fn what_is_scored_is_the_average_and_what_is_trained_the_newest() {
    let space = space(&OPERATIONS, 4);
    let network = network(&*space, &[("conv_1x1", vec![0, 1]), ("sep_conv_3x3", vec![2])]);
    let average = Averaging::new(0.5).unwrap();
    let mut model = OneShot::new(1, OneShotSettings { average, ..OneShotSettings::DEFAULT });
    let mut plain = OneShot::new(1, OneShotSettings::DEFAULT);
    let before = select(&mut plain, &network);
    train(&mut model, &network);
    train(&mut plain, &network);
    let after = select(&mut plain, &network);
    let mut newest = Weights::zeros_for(network.params());
    model.generate(&network, &mut newest).unwrap();
    assert_eq!(newest.as_slice(), after.as_slice());
    // The first step keeps 2 / 11.
    let pairs = before.as_slice().iter().zip(after.as_slice());
    for ((before, after), got) in pairs.zip(select(&mut model, &network).as_slice()) {
        assert!((got - (2.0 * before + 9.0 * after) / 11.0).abs() < 1e-6, "{got} {before} {after}");
    }
}

/// Parameters of one node for each operation, at a width of `c`.
fn operation_parameters(op: &str, c: usize) -> usize {
    match op {
        "conv_1x1" => c * c,
        "sep_conv_3x3" => 9 * c + c * c,
        "dil_conv_5x5" => 25 * c + c * c,
        "conv_1x7_7x1" => 14 * c * c,
        _ => 0,
    }
}

#[test]
fn the_whole_supernet_grows_with_operations_times_nodes() {
    for operations in [&OPERATIONS[..3], &OPERATIONS] {
        for nodes in [7, 17] {
            let space = space(operations, nodes);
            let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
            for op in operations {
                // Every node has every operation, in a chain as in a block where all are leaves.
                let chain = (2..nodes).map(|node| match node {
                    2 => (*op, vec![0, 1]),
                    _ => (*op, vec![0, 1, node - 1]),
                });
                select(&mut model, &network(&*space, &chain.collect::<Vec<_>>()));
                let flat = vec![(*op, vec![0, 1]); nodes - 2];
                select(&mut model, &network(&*space, &flat));
            }
            let of_nodes =
                |c| operations.iter().map(|op| operation_parameters(op, c)).sum::<usize>();
            let leaves = nodes - 2;
            let stem = 4 * 3 * 9;
            let first = 2 * 4 * 4 + leaves * of_nodes(4);
            let second = 8 * 4 * leaves + 8 * 4 + leaves * of_nodes(8);
            let head = 10 * 8 * leaves + 10;
            let expected = stem + first + second + head;
            assert_eq!(model.parameter_count(), expected, "K = {}, N = {nodes}", operations.len());
        }
    }
}

#[test]
fn a_sampled_supernet_comes_near_to_the_whole_one() {
    let space = space(&OPERATIONS[..3], 7);
    let mut model = OneShot::new(1, OneShotSettings::DEFAULT);
    let count = |model: &mut OneShot, seeds: std::ops::Range<u64>| {
        for seed in seeds {
            let arch = space.sample(Phase::Train, seed).unwrap();
            select(model, &space.lower(&arch, TASK).unwrap());
        }
        model.parameter_count()
    };
    let whole = 108 + 32 + 5 * (16 + 52) + 8 * 4 * 6 + 5 * (64 + 136) + 10 * 8 * 5 + 10;
    let (few, many) = (count(&mut model, 0..5), count(&mut model, 5..300));
    assert!(few < many && many <= whole && 10 * many > 9 * whole, "{few} {many} {whole}");
}

#[test]
fn settings_are_checked() {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let build = |sgd: Value| {
        let settings = json!({"sgd": sgd}).as_object().unwrap().clone();
        let built = catalogue.generators.build("one-shot", &settings, &context);
        built.map(|_| ()).map_err(|error| error.to_string())
    };
    let with = |momentum, weight_decay| {
        build(json!({"momentum": momentum, "nesterov": true, "weight_decay": weight_decay}))
    };
    assert_eq!(with(0.9, 1e-4), Ok(()));
    assert!(with(1.0, 1e-4).unwrap_err().contains("sgd.momentum = 1, expected 0 to 1"));
    assert!(with(0.9, -1.0).unwrap_err().contains("sgd.weight_decay = -1, expected 0 or more"));
    assert!(build(json!({"momentun": 0.9})).unwrap_err().contains("momentun"));
}
