//! The space through the catalogue, as the app gets it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ghnas_core::{
    Architecture, BuildContext, Catalogue, Counting, Executor, Images, ParamId, Phase, SearchSpace,
    Settings, Shape, Task, ValueId, Weights, multiply_adds,
};
use serde_json::json;
use {ghnas_executor_dfdx as _, ghnas_executor_native as _, ghnas_space_nas_bench_201 as _};

fn build(preset: &str, changes: serde_json::Value) -> Result<Arc<dyn SearchSpace>, String> {
    let catalogue = Catalogue::built_in().unwrap();
    let presets = &catalogue.spaces.get("nas-bench-201").unwrap().presets;
    let preset = presets.iter().find(|known| known.name == preset).unwrap();
    let mut settings: Settings = preset.settings.clone();
    settings.extend(changes.as_object().unwrap().clone());
    let context = BuildContext::new(&catalogue);
    catalogue.spaces.build("nas-bench-201", &settings, &context).map_err(|error| error.to_string())
}

/// A cell by its six operations; short names.
fn notation(operations: [&str; 6]) -> String {
    let [a, b, c, d, e, f] = operations.map(|name| match name {
        "1x1" => "nor_conv_1x1",
        "3x3" => "nor_conv_3x3",
        "skip" => "skip_connect",
        "avg" => "avg_pool_3x3",
        other => other,
    });
    format!("|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
}

fn counts(space: &dyn SearchSpace, arch: &Architecture) -> (usize, u64) {
    let network = space.lower(arch, Task::CIFAR10).unwrap();
    (network.param_count(), multiply_adds(&network, Counting::default()).0)
}

/// Checks a table with a header and the columns index, arch_str, ..., params, flops; gives the
/// number of rows.
fn check_table(table: &str) -> usize {
    let space = build("benchmark", json!({})).unwrap();
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, text, .., params, flops] = fields[..] else { panic!("{line}") };
        let expected = (params.parse().unwrap(), flops.parse().unwrap());
        let arch = space.parse(text).unwrap();
        assert_eq!(counts(&*space, &arch), expected, "{line}");
        rows += 1;
    }
    rows
}

/// Rows of NATS-Bench's table of CIFAR-10 (16 channels, 5 cells a stage): 48 spread over it, and
/// cells whose output reads nothing, that convolve zeros, or whose convolutions reach no output.
#[test]
fn parameters_and_multiply_adds_are_the_published_ones() {
    assert_eq!(check_table(include_str!("published.csv")), 62);
}

/// Where `GHNAS_NASBENCH201` names a table, every row of it.
#[test]
fn parameters_and_multiply_adds_are_those_of_a_whole_table() {
    let Some(path) = std::env::var_os("GHNAS_NASBENCH201") else { return };
    let table = std::fs::read_to_string(path).unwrap();
    assert_eq!(check_table(&table), table.lines().count() - 1);
}

#[test]
fn counts_of_every_cell_follow_the_formula() {
    let (channels, cells) = (4, 1);
    let settings = json!({"channels": channels, "cells": cells, "affine": true});
    let space = build("laptop", settings).unwrap();
    let enumerate = space.enumerate().unwrap();
    assert_eq!(enumerate.size(), 15_625);
    for index in 0..enumerate.size() {
        let arch = enumerate.nth(index).unwrap();
        let text = space.format(&arch);
        let convolutions =
            [(1, "1x1"), (9, "conv_3x3")].map(|(taps, name)| (taps, text.matches(name).count()));
        // Stem with its batch norm, head with its batch norm, classifier.
        let mut params = 27 * channels + 2 * channels + 8 * channels + 40 * channels + 10;
        let mut products = 27 * channels * 1024 + 40 * channels + 10;
        for (stage, pixels) in [1024, 256, 64].into_iter().enumerate() {
            let width = channels << stage;
            for (taps, count) in convolutions {
                params += cells * count * (taps * width * width + 2 * width);
                products += cells * count * taps * width * width * pixels;
            }
            if stage > 0 {
                // Half as wide to this width: 3x3, 3x3, and the shortcut's 1x1.
                let kernels = 9 * width * width / 2 + 9 * width * width + width * width / 2;
                params += kernels + 4 * width;
                products += kernels * pixels;
            }
        }
        assert_eq!(counts(&*space, &arch), (params, products as u64), "{text}");
    }
}

#[test]
fn every_cell_is_written_as_it_was_read_and_counts_once_in_the_enumeration() {
    let space = build("laptop", json!({})).unwrap();
    let enumerate = space.enumerate().unwrap();
    let (mut texts, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..enumerate.size() {
        let arch = enumerate.nth(index).unwrap();
        let text = space.format(&arch);
        assert_eq!(space.parse(&text).unwrap(), arch);
        let canonical = arch.canonical();
        let representative = space.parse(&space.format(&canonical)).unwrap();
        assert_eq!(representative.hash(), arch.hash(), "{text}");
        texts.insert(text);
        hashes.insert(arch.hash());
    }
    assert_eq!(texts.len(), 15_625);
    // 12,500 cells have an edge from node 1 to node 2. Of the 3,125 without, which exchanging the
    // two nodes maps onto each other, 125 stay as they are: (3,125 + 125) / 2 classes (Burnside).
    assert_eq!(hashes.len(), 12_500 + 1_625);
    let first = space.format(&enumerate.nth(0).unwrap());
    assert_eq!(first, notation(["none"; 6]));
    // The last edge changes fastest, over the benchmark's order of operations.
    let sixth = space.format(&enumerate.nth(5 + 3).unwrap());
    assert_eq!(sixth, notation(["none", "none", "none", "none", "skip", "3x3"]));
    let error = enumerate.nth(15_625).unwrap_err().to_string();
    assert!(error.contains("no architecture 15625; the space has 15625"), "{error}");
}

#[test]
fn cells_with_exchanged_nodes_have_one_hash_and_one_network() {
    let space = build("laptop", json!({})).unwrap();
    let parse = |operations| space.parse(&notation(operations)).unwrap();
    let one = parse(["1x1", "avg", "none", "skip", "3x3", "1x1"]);
    let two = parse(["avg", "1x1", "none", "skip", "1x1", "3x3"]);
    assert_eq!(one.hash(), two.hash());
    assert_ne!(one, two);
    let lower = |arch| space.lower(arch, Task::CIFAR10).unwrap();
    assert_eq!(lower(&one), lower(&two));
    let joined = parse(["1x1", "avg", "skip", "skip", "3x3", "1x1"]);
    let other = parse(["avg", "1x1", "skip", "skip", "1x1", "3x3"]);
    assert_ne!(joined.hash(), other.hash());
}

#[test]
fn the_graph_has_a_node_for_each_operation() {
    let space = build("laptop", json!({})).unwrap();
    let arch = space.parse(&notation(["3x3", "skip", "avg", "none", "1x1", "skip"])).unwrap();
    let network = space.lower(&arch, Task::CIFAR10).unwrap();
    let names: Vec<&str> = network.modules().iter().map(|module| &*module.name).collect();
    let expected = [
        "stem",
        "stage1_cell1",
        "reduction1",
        "stage2_cell1",
        "reduction2",
        "stage3_cell1",
        "head",
    ];
    assert_eq!(names, expected);
    let cell = &network.modules()[1].nodes;
    let ops: Vec<&str> = cell.iter().map(|node| &*node.op).collect();
    let expected = ["input", "nor_conv_3x3", "skip_connect", "avg_pool_3x3", "nor_conv_1x1"];
    assert_eq!(ops, [&expected[..], &["skip_connect", "output"]].concat());
    let inputs: Vec<&[usize]> = cell.iter().map(|node| &node.inputs[..]).collect();
    let expected: [&[usize]; 7] = [&[], &[0], &[0], &[1], &[1], &[2, 3], &[4, 5]];
    assert_eq!(inputs, expected);
    let last = ValueId(network.values() as u32 - 1);
    assert_eq!(network.shape(last), Shape::new(10, 1, 1));
}

fn executor(id: &str) -> Box<dyn Executor> {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext { threads: 2, ..BuildContext::new(&catalogue) };
    catalogue.executors.build(id, &Settings::new(), &context).unwrap()
}

/// Cells that no image passes, with and without convolutions of zeros, and such that compute what
/// no output reads: they train like any other, and both executors agree.
#[test]
fn cells_without_a_path_run() {
    let cells = [
        ["none"; 6],
        ["3x3", "1x1", "avg", "none", "none", "none"],
        ["none", "none", "3x3", "none", "none", "1x1"],
        ["none", "none", "avg", "none", "1x1", "3x3"],
        ["3x3", "none", "1x1", "skip", "none", "none"],
        ["skip"; 6],
    ];
    for (affine, simplify) in [(false, false), (true, false), (false, true)] {
        let settings = json!({"channels": 2, "affine": affine, "simplify": simplify});
        let space = build("laptop", settings).unwrap();
        for operations in cells {
            let text = notation(operations);
            let task = Task { image: Shape::new(3, 8, 8), classes: 3 };
            let network = space.lower(&space.parse(&text).unwrap(), task).unwrap();
            let mut weights = Weights::zeros_for(network.params());
            let wave = |at: usize| ((at * 37 % 101) as f32 - 50.0) / 70.0;
            weights.as_mut_slice().iter_mut().enumerate().for_each(|(at, w)| *w = wave(at));
            let data: Vec<f32> = (0..4 * 3 * 64).map(|at| wave(at + 5)).collect();
            let images = Images { data: &data, count: 4 };
            let [native, exact] = ["native", "dfdx"].map(|id| {
                let mut gradients = Weights::default();
                let mut executor = executor(id);
                let labels = [0, 1, 2, 1];
                let loss = executor
                    .loss_and_gradients(&network, &weights, images, &labels, &mut gradients)
                    .unwrap_or_else(|error| panic!("{id}, {text}: {error}"));
                assert!(loss.loss.is_finite() && gradients.all_finite(), "{id}, {text}");
                (loss.loss, gradients)
            });
            assert!((native.0 - exact.0).abs() < 1e-4 * exact.0, "{text}: {native:?} {exact:?}");
            let norm = |weights: &Weights| {
                weights.as_slice().iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
            };
            let (got, expected) = (norm(&native.1), norm(&exact.1));
            assert!((got - expected).abs() <= 1e-3 * expected, "{text}: {got} {expected}");
        }
    }
}

/// With weights that hang on a parameter's kind and shape alone, so that a cell and its smaller form
/// have the same ones.
#[test]
fn a_simplified_network_computes_the_same() {
    let [plain, simple] = [false, true]
        .map(|simplify| build("laptop", json!({"channels": 2, "simplify": simplify})).unwrap());
    let task = Task { image: Shape::new(3, 8, 8), classes: 3 };
    let data: Vec<f32> = (0..4 * 3 * 64).map(|at| ((at * 37 % 101) as f32 - 50.0) / 70.0).collect();
    let mut executor = executor("native");
    let mut smaller = 0;
    for seed in 0..60 {
        let arch = plain.sample(Phase::Score, seed).unwrap();
        let [before, after] = [&plain, &simple].map(|space| {
            let network = space.lower(&arch, task).unwrap();
            let mut weights = Weights::zeros_for(network.params());
            for (index, param) in network.params().iter().enumerate() {
                let phase = param.kind.bytes().map(f32::from).sum::<f32>() + param.len() as f32;
                let values = weights.get_mut(ParamId(index as u32)).iter_mut().enumerate();
                values.for_each(|(at, value)| *value = (at as f32 * 0.7 + phase).sin());
            }
            let (images, mut logits) = (Images { data: &data, count: 4 }, Vec::new());
            executor.evaluate(&network, &weights, images, &mut logits).unwrap();
            (network.param_count(), logits)
        });
        assert!(after.0 <= before.0);
        smaller += usize::from(after.0 < before.0);
        for (one, other) in before.1.iter().zip(&after.1) {
            assert!((one - other).abs() < 1e-3, "{}: {one} {other}", plain.format(&arch));
        }
    }
    assert!(smaller > 10, "{smaller}");
}

#[test]
fn mutation_changes_one_edge_and_crossover_takes_from_parents() {
    let space = build("laptop", json!({})).unwrap();
    let evolve = space.evolve().unwrap();
    let operations = |arch: &Architecture| -> Vec<String> {
        let text = space.format(&arch.canonical());
        let edges = text.split(['|', '+']).filter(|edge| !edge.is_empty());
        edges.map(String::from).collect()
    };
    for seed in 0..200 {
        let parent = space.sample(Phase::Score, seed).unwrap();
        let other = space.sample(Phase::Train, seed + 1000).unwrap();
        let child = evolve.mutate(&parent, seed).unwrap();
        assert_ne!(child.hash(), parent.hash());
        let [mut before, mut after] = [&parent, &child].map(operations);
        // Canonical order may exchange nodes, so the names are compared as a set with repetitions.
        for names in [&mut before, &mut after] {
            names.iter_mut().for_each(|edge| edge.truncate(edge.len() - 2));
            names.sort_unstable();
        }
        let kept = after.iter().filter(|&name| {
            let place = before.iter().position(|known| known == name);
            place.map(|place| before.remove(place)).is_some()
        });
        assert_eq!(kept.count(), 5);
        let both = evolve.cross(&parent, &parent, seed).unwrap();
        assert_eq!(both.hash(), parent.hash());
        space.validate(&evolve.cross(&parent, &other, seed).unwrap()).unwrap();
    }
}

#[test]
fn samples_are_uniform() {
    let space = build("laptop", json!({})).unwrap();
    let mut nones = 0;
    let hashes: BTreeSet<_> = (0..2000)
        .map(|seed| {
            let arch = space.sample(Phase::Score, seed).unwrap();
            nones += space.format(&arch).matches("none~").count();
            arch.hash()
        })
        .collect();
    // 12,000 edges of which a fifth is none, with a standard deviation of 44.
    assert!((2400 - 200..2400 + 200).contains(&nones), "{nones}");
    // 2,000 draws of 15,625 repeat about 123 times.
    assert!((1800..1950).contains(&hashes.len()), "{}", hashes.len());
}

fn motif(nodes: serde_json::Value) -> Architecture {
    let motifs = json!([{"name": "cell", "nodes": nodes}]);
    json!({"schema": 1, "space": "nas-bench-201", "motifs": motifs}).to_string().parse().unwrap()
}

#[track_caller]
fn refused(nodes: serde_json::Value, part: &str) {
    let space = build("laptop", json!({})).unwrap();
    let arch = motif(nodes);
    let error = space.validate(&arch).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    assert!(space.lower(&arch, Task::CIFAR10).is_err());
    assert_eq!(space.format(&arch), arch.to_string());
}

#[test]
fn broken_rules_are_named() {
    let cell = |output: serde_json::Value| json!([{"op": "input"}, {"op": "sum"}, {"op": "sum"}, {"op": "output", "inputs": output}]);
    refused(
        cell(json!([{"from": 0, "op": "skip_conect"}])),
        "node 3: unknown operation 'skip_conect'; did you mean 'skip_connect'?",
    );
    refused(
        cell(json!([{"from": 0, "op": "none"}])),
        "node 3: an edge with 'none' must be left out",
    );
    refused(cell(json!([0])), "node 3: every edge of this space has an operation");
    let twice = json!([{"from": 1, "op": "skip_connect"}, {"from": 1, "op": "nor_conv_1x1"}]);
    refused(cell(twice), "node 3: it reads one node twice");
    refused(
        json!([{"op": "input"}, {"op": "sum"}, {"op": "output"}]),
        "has the nodes input, sum, output; ",
    );
    let from_output = json!([{"op": "input"}, {"op": "output"}, {"op": "sum"},
        {"op": "sum", "inputs": [{"from": 1, "op": "skip_connect"}]}]);
    refused(from_output, "node 3: the input reads nothing, and nothing reads the output");
    let attributes = json!([{"op": "input", "attributes": {"index": 0}}, {"op": "sum"},
        {"op": "sum"}, {"op": "output"}]);
    refused(attributes, "node 0: a node of this space has no attributes");
}

#[test]
fn wrong_settings_images_and_notations_are_named() {
    let refused = |changes: serde_json::Value, part: &str| {
        let error = build("laptop", changes).err().expect("the settings are wrong");
        assert!(error.contains(part), "{error}");
    };
    refused(json!({"channels": 0}), "channels = 0, expected 1 to 1024");
    refused(json!({"cells": 101}), "cells = 101, expected 1 to 100");
    refused(json!({"affine": 1}), "affine");
    refused(json!({"blocks": 1}), "blocks");
    let space = build("laptop", json!({})).unwrap();
    let arch = space.parse(&notation(["skip"; 6])).unwrap();
    let task = Task { image: Shape::new(3, 30, 32), classes: 10 };
    let error = space.lower(&arch, task).unwrap_err().to_string();
    assert!(error.contains("3x30x32") && error.contains("divisible by 4"), "{error}");
    let error = space.parse(&notation(["skip", "skip", "4x4", "avg", "1x1", "1x1"])).unwrap_err();
    assert!(error.to_string().starts_with("column 34: unknown operation '4x4'"), "{error}");
}
