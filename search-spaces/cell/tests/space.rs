//! The cell space through the catalogue, as the app gets it.

use std::sync::Arc;

use ghnas_core::{
    Architecture, BuildContext, Catalogue, Counting, Phase, SearchSpace, Settings, Shape, Task,
    ValueId, multiply_adds,
};
use ghnas_space_cell as _;
use serde_json::json;

fn build(changes: serde_json::Value) -> Result<Arc<dyn SearchSpace>, String> {
    let catalogue = Catalogue::built_in().unwrap();
    let mut settings: Settings = catalogue.spaces.get("cell").unwrap().presets[0].settings.clone();
    settings.extend(changes.as_object().unwrap().clone());
    let context = BuildContext::new(&catalogue);
    catalogue.spaces.build("cell", &settings, &context).map_err(|error| error.to_string())
}

fn block(nodes: serde_json::Value) -> Architecture {
    let mut all = vec![
        json!({"op": "input", "attributes": {"index": 0}}),
        json!({"op": "input", "attributes": {"index": 1}}),
    ];
    all.extend(nodes.as_array().unwrap().iter().cloned());
    let motifs = json!([{"name": "cell", "nodes": all}]);
    json!({"schema": 1, "space": "cell", "motifs": motifs}).to_string().parse().unwrap()
}

#[test]
fn counts_are_those_of_the_hand() {
    let space = build(json!({"blocks": 2, "channels": 4, "reduce_after": [1]})).unwrap();
    let arch = block(json!([
        {"op": "sep_conv_3x3", "inputs": [0]},
        {"op": "conv_1x7_7x1", "inputs": [1]},
    ]));
    let network = space.lower(&arch, Task::CIFAR10).unwrap();
    // stem 4*3*9; block 1: two bottlenecks 4*4, depthwise 4*9, pointwise 4*4, two 4*4*7;
    // block 2: bottlenecks 8 * (2*4) and 8*4, depthwise 8*9, pointwise 8*8, two 8*8*7;
    // head 10 * 16 + 10.
    let block1 = 2 * 16 + 36 + 16 + 2 * 112;
    let block2 = 64 + 32 + 72 + 64 + 2 * 448;
    assert_eq!(network.param_count(), 108 + block1 + block2 + 170);
    let expect = 1024 * (108 + block1) + 256 * block2 + 170;
    assert_eq!(multiply_adds(&network, Counting::default()).0, expect as u64);
    let last = ValueId(network.values() as u32 - 1);
    assert_eq!(network.shape(last), Shape::new(10, 1, 1));
}

#[test]
fn isomorphic_blocks_have_one_network() {
    let space = build(json!({})).unwrap();
    let one = block(json!([
        {"op": "conv_1x1", "inputs": [0]},
        {"op": "max_pool_3x3", "inputs": [1, 2]},
        {"op": "identity", "inputs": [0, 1]},
    ]));
    let two = block(json!([
        {"op": "identity", "inputs": [1, 0]},
        {"op": "max_pool_3x3", "inputs": [4, 1]},
        {"op": "conv_1x1", "inputs": [0]},
    ]));
    assert_eq!(one.hash(), two.hash());
    let lower = |arch| space.lower(arch, Task::CIFAR10).unwrap();
    assert_eq!(lower(&one), lower(&two));
}

#[test]
fn every_operation_lowers_at_every_place_of_both_presets() {
    let catalogue = Catalogue::built_in().unwrap();
    for preset in &catalogue.spaces.get("cell").unwrap().presets {
        let space = build(serde_json::Value::Object(preset.settings.clone())).unwrap();
        for op in preset.settings["operations"].as_array().unwrap() {
            let arch = block(json!([{"op": op, "inputs": [0, 1]}, {"op": op, "inputs": [2]}]));
            let network = space.lower(&arch, Task::CIFAR10).unwrap();
            let blocks = preset.settings["blocks"].as_u64().unwrap() as usize;
            assert_eq!(network.modules().len(), blocks + 2);
        }
        let arch = space.sample(Phase::Score, 3).unwrap();
        assert_eq!(arch.motifs()[0].nodes().len(), 17);
        space.lower(&arch, Task::CIFAR10).unwrap();
    }
}

#[test]
fn an_unused_input_computes_nothing_but_stays_in_the_graph() {
    let space = build(json!({})).unwrap();
    let arch = block(json!([{"op": "conv_1x1", "inputs": [0]}]));
    let network = space.lower(&arch, Task::CIFAR10).unwrap();
    assert_eq!(network.modules()[1].nodes.len(), 4);
    assert!(network.params().iter().all(|param| !param.name.starts_with("block1.node1.")));
}

#[test]
fn images_of_odd_size_and_adjacent_reductions_lower() {
    let space = build(json!({"blocks": 4, "reduce_after": [1, 2, 3]})).unwrap();
    let task = Task { image: Shape::new(1, 29, 21), classes: 3 };
    for seed in 0..20 {
        let arch = space.sample(Phase::Train, seed).unwrap();
        space.lower(&arch, task).unwrap();
    }
}

#[test]
fn mutation_and_crossover_give_valid_neighbours_and_keep_parents() {
    let space = build(json!({})).unwrap();
    let evolve = space.evolve().unwrap();
    let mut changed = 0;
    for seed in 0..200 {
        let parent = space.sample(Phase::Score, seed).unwrap();
        let other = space.sample(Phase::Score, seed + 1000).unwrap();
        let (before, hash) = (parent.clone(), parent.hash());
        let child = evolve.mutate(&parent, seed).unwrap();
        space.validate(&child).unwrap();
        space.lower(&child, Task::CIFAR10).unwrap();
        changed += usize::from(child.hash() != hash);
        let child = evolve.cross(&parent, &other, seed).unwrap();
        space.validate(&child).unwrap();
        space.lower(&child, Task::CIFAR10).unwrap();
        assert_eq!(parent, before);
    }
    assert!(changed >= 195, "only {changed} of 200 mutations changed the architecture");
}

#[track_caller]
fn refused(arch: &Architecture, part: &str) {
    let error = build(json!({})).unwrap().validate(arch).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn broken_rules_are_named() {
    refused(
        &block(json!([{"op": "sep_conv3x3", "inputs": [0]}])),
        "node 2: unknown operation 'sep_conv3x3'; did you mean 'sep_conv_3x3'?",
    );
    refused(&block(json!([{"op": "identity"}])), "node 2: it reads nothing");
    refused(&block(json!([{"op": "identity", "inputs": [0, 0]}])), "reads one node twice");
    refused(&block(json!([])), "2 nodes");
    refused(
        &block(json!([{"op": "identity", "inputs": [{"from": 0, "op": "conv_1x1"}]}])),
        "edges of this space carry no operation",
    );
    let cyclic = r#"{"schema":1,"space":"cell","motifs":[{"name":"cell","nodes":[
        {"op":"input","attributes":{"index":0}},{"op":"input","attributes":{"index":1}},
        {"op":"identity","inputs":[3]},{"op":"identity","inputs":[2]}]}]}"#;
    let error = cyclic.parse::<Architecture>().unwrap_err().to_string();
    assert!(error.contains("motif 'cell': node 2: it lies on a cycle"), "{error}");
}

#[test]
fn wrong_settings_are_named() {
    let refused = |changes: serde_json::Value, part: &str| {
        let error = build(changes).err().expect("the settings are wrong");
        assert!(error.contains(part), "{error}");
    };
    refused(json!({"nodes": 2}), "nodes = 2, expected 3 to 128");
    refused(json!({"reduce_after": [4, 2]}), "reduce_after");
    refused(json!({"blocks": 2}), "expected ascending numbers from 1 to 1");
    refused(json!({"operations": ["conv_2x2"]}), "did you mean 'conv_1x1'?");
    refused(json!({"operations": []}), "at least one");
    refused(json!({"chanels": 8}), "chanels");
    refused(json!({"channels": "many"}), "channels");
}
