//! Plugins that break the rules: one error each, with the plugin, its file and the call.

use std::path::Path;

use crate::common::{catalogue, compile, context, space};
use ghnas_core::{
    Catalogue, Convolution, Dag, GeneratorError, Network, NetworkBuilder, ParamId, ParamRequest,
    Phase, Settings, Shape, SpaceError, Task, ValueId, Weights,
};
use ghnas_plugin_host::{Plugin, PluginKind, is_fault};

fn faulty(defines: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    compile("tests/plugins/faulty.c", "libfaulty.so", defines)
}

/// The error names plugin, file and call, says `part`, and is known as a plugin's fault.
#[track_caller]
fn is_fault_of(error: impl std::fmt::Display, call: &str, part: &str) {
    let text = error.to_string();
    for part in ["plugin 'faulty'", "libfaulty.so", call, part] {
        assert!(text.contains(part), "{text}\nlacks: {part}");
    }
    assert!(is_fault(&text), "{text}");
}

#[track_caller]
fn refused(bytes: &[u8], part: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libbroken.so");
    std::fs::write(&path, bytes).unwrap();
    refused_file(&path, part);
}

#[track_caller]
fn refused_file(path: &Path, part: &str) {
    let error = Plugin::open(path).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn files_that_are_no_library_are_refused_before_they_are_loaded() {
    let (_folder, library) = faulty(&[]);
    let good = std::fs::read(&library).unwrap();
    refused_file(&library.with_file_name("absent.so"), "No such file");
    refused(b"", "not ELF");
    refused(b"MZ\x90\0 a library of another system", "not ELF");
    for length in [4, 40, 100, good.len() / 2, good.len() - 1] {
        refused(&good[..length], "truncated");
    }
    let patched = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    refused(&patched(4, 1), "32-bit");
    refused(&patched(5, 2), "byte order");
    refused(&patched(16, 1), "no shared library");
    refused(&patched(18, 8), "machine 8");
    // Header offsets that point anywhere must not be followed.
    for at in [39, 47] {
        refused(&patched(at, 0xff), "truncated");
    }
}

#[test]
fn libraries_that_are_no_plugin_of_this_version_are_refused() {
    for (define, part) in [
        ("NO_HEADER", "no symbol ghnas_plugin_header_v1"),
        ("NO_ENTRY", "no symbol ghnas_plugin_entry_v1"),
        ("MAGIC=\"another\"", "its header is something else"),
        ("MAJOR=9", "version 9 of the plugin ABI, this ghnas version 1"),
        ("ENTRY_FAILS", "its entry function failed: no licence"),
        ("INTERFACE_SIZE=24", "too short"),
        ("ENTRIES=\"x\"", "its entries: "),
        ("ENTRIES=\"\"", "has no entry"),
    ] {
        let (_folder, library) = faulty(&[define, "ONLY_SPACES"]);
        refused_file(&library, part);
    }
}

#[test]
fn an_unknown_interface_is_an_error_alone_and_left_out_beside_others() {
    let (_folder, library) = faulty(&["SPACE_INTERFACE=\"ghnas.dreams/3\"", "ONLY_SPACES"]);
    let words = "plugin 'faulty' (";
    refused_file(&library, words);
    refused_file(&library, "it offers only ghnas.dreams/3, no interface that this ghnas knows");
    let (_folder, library) = faulty(&["SPACE_INTERFACE=\"ghnas.dreams/3\""]);
    let plugin = crate::common::open(&library);
    assert_eq!(plugin.unknown_interfaces(), ["ghnas.dreams/3"]);
    assert_eq!(plugin.kinds().len(), 4);
}

#[test]
fn a_future_table_is_read_as_far_as_it_is_known() {
    let (_folder, library) = faulty(&["INTERFACE_SIZE=sizeof(ghnas_interface)+4096"]);
    assert_eq!(crate::common::open(&library).kinds().len(), 5);
}

#[test]
fn two_plugins_with_one_id_are_named_both() {
    let (_first, one) = faulty(&["ONLY_SPACES"]);
    let (_second, two) = faulty(&["ONLY_SPACES"]);
    let mut catalogue = catalogue(&[&one]);
    let error = crate::common::open(&two).add_to(&mut catalogue).unwrap_err().to_string();
    assert!(error.contains(one.to_str().unwrap()), "{error}");
    assert!(error.contains(two.to_str().unwrap()), "{error}");
}

#[test]
fn what_a_space_answers_is_checked() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let sample = |id: &str| space(&catalogue, id).unwrap().sample(Phase::Score, 0).unwrap_err();
    is_fault_of(sample("garbage"), "search-space 'garbage', sample", "not understood");
    is_fault_of(sample("cyclic"), "'cyclic', sample", "lies on a cycle");
    is_fault_of(sample("foreign"), "'foreign', sample", "of space 'elsewhere'");
    is_fault_of(sample("status"), "'status', sample", "unknown status 77");
    let fine = space(&catalogue, "fine").unwrap();
    let arch = fine.sample(Phase::Score, 0).unwrap();
    is_fault_of(fine.lower(&arch, Task::CIFAR10).unwrap_err(), "lower", "no output");
    let error = space(&catalogue, "nothing").err().unwrap();
    is_fault_of(error, "'nothing', create", "no instance");
    let error = space(&catalogue, "refuse").err().unwrap().to_string();
    assert!(error.contains("not today") && !is_fault(&error), "{error}");
}

/// A plugin of 1.0 is not asked for a notation; one of 1.1 that has none is asked.
#[test]
fn a_space_without_a_notation_is_written_as_json() {
    for minor in ["MINOR=0", "MINOR=1"] {
        let (_folder, library) = faulty(&[minor, "ONLY_SPACES"]);
        let catalogue = catalogue(&[&library]);
        let fine = space(&catalogue, "fine").unwrap();
        let arch = fine.sample(Phase::Score, 0).unwrap();
        assert_eq!(fine.format(&arch), arch.to_string());
        assert!(fine.enumerate().is_none());
    }
}

#[test]
fn an_instance_says_whether_it_can_be_listed() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    assert!(space(&catalogue, "cyclic").unwrap().enumerate().is_none());
    let fine = space(&catalogue, "fine").unwrap();
    assert_eq!(fine.enumerate().unwrap().size(), 3);
}

/// The instance that panicked is not touched again: the next call goes to a fresh one.
#[test]
fn one_architecture_that_a_space_cannot_do_with_fails_alone() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let shaky = space(&catalogue, "shaky").unwrap();
    let sample = |seed| shaky.sample(Phase::Score, seed);
    for _ in 0..3 {
        is_fault_of(sample(10).unwrap_err(), "'shaky', sample", "it panicked: out of cheese");
        sample(4).unwrap();
        is_fault_of(sample(11).unwrap_err(), "'shaky', sample", "not understood");
        is_fault_of(sample(12).unwrap_err(), "'shaky', sample", "lies on a cycle");
        shaky.validate(&sample(13).unwrap()).unwrap();
    }
}

#[test]
fn a_space_that_panics_at_every_call_is_given_up() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let (broken, other) = (space(&catalogue, "panic").unwrap(), space(&catalogue, "fine").unwrap());
    let sample = || broken.sample(Phase::Score, 0).unwrap_err();
    for _ in 0..32 {
        let error = sample();
        assert!(matches!(error, SpaceError::Other(_)), "{error:?}");
        is_fault_of(error, "'panic', sample", "it panicked: out of cheese");
    }
    for _ in 0..3 {
        let error = sample();
        assert!(matches!(error, SpaceError::Broken(_)), "{error:?}");
        is_fault_of(error, "'panic', sample", "it panicked 32 times in a row and is given up");
    }
    let arch = other.sample(Phase::Score, 0).unwrap();
    is_fault_of(broken.validate(&arch).unwrap_err(), "'panic', validate", "is given up");
}

/// From several threads at a time: a panic is the error of its own call alone.
#[test]
fn a_panic_in_one_thread_is_no_error_in_another() {
    let (_folder, library) = faulty(&["SPACE_FLAGS=GHNAS_SHAREABLE"]);
    let catalogue = catalogue(&[&library]);
    let shaky = space(&catalogue, "shaky").unwrap();
    let good = |seed: u64| seed % 10 > 2;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shaky = &shaky;
            scope.spawn(move || {
                for seed in (thread..4000).step_by(4) {
                    let sample = shaky.sample(Phase::Score, seed);
                    assert_eq!(sample.is_ok(), good(seed), "{seed}: {sample:?}");
                }
            });
        }
    });
}

/// What a generator or a searcher has learned is lost with its instance.
#[test]
fn what_keeps_state_stays_unusable_after_a_panic() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let (context, settings) = (context(&catalogue), Settings::new());
    let mut searcher = catalogue.searchers.build("panicking", &settings, &context).unwrap();
    is_fault_of(searcher.suggest(1).unwrap_err(), "'panicking', suggest", "out of ideas");
    is_fault_of(searcher.suggest(1).unwrap_err(), "'panicking', suggest", "unusable");
    let mut generator = catalogue.generators.build("panicking", &settings, &context).unwrap();
    let mut weights = Weights::zeros_for(network().params());
    for part in ["out of weights", "unusable"] {
        let error = generator.predict(&network(), &mut weights).unwrap_err();
        assert!(matches!(error, GeneratorError::Broken(_)), "{error:?}");
        is_fault_of(error, "weight-generator 'panicking', ", part);
    }
}

/// What was handed over before the question was released, all of it and once.
#[test]
fn bytes_are_released_exactly_once() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let space = space(&catalogue, "fine").unwrap();
    for seed in 0..20 {
        space.validate(&space.sample(Phase::Score, seed).unwrap()).unwrap();
    }
    assert_eq!(space.parse("").unwrap_err().to_string(), "even");
}

#[test]
fn answers_of_the_other_kinds_are_checked() {
    let (_folder, library) = faulty(&[]);
    let catalogue = catalogue(&[&library]);
    let (context, settings) = (context(&catalogue), Settings::new());
    let mut searcher = catalogue.searchers.build("many", &settings, &context).unwrap();
    is_fault_of(searcher.suggest(1).unwrap_err(), "suggest", "2 commands, asked for 1");
    is_fault_of(searcher.save().unwrap_err(), "searcher 'many', save", "no such method");
    let propagator = catalogue.propagators.build("lost", &settings, &context).unwrap();
    let graph = Dag::new(vec![vec![], vec![0]]).unwrap();
    is_fault_of(propagator.schedule(&graph, 1).unwrap_err(), "schedule", "node 9 does not exist");
    let operation = catalogue.operations.build("later", &settings, &context).unwrap();
    let mut network = NetworkBuilder::new(Shape::new(4, 8, 8), 2);
    network.module("m");
    let mut node = network.node("later", vec![], true);
    let place = ghnas_core::OperationContext { channels: 4, max_channels: 4 };
    let error = operation.expand(&mut node, &[ValueId::IMAGES], place).unwrap_err();
    is_fault_of(error, "operation 'later', expand", "reads value 3");
}

/// Two kernels of 4 and 8 values, the first with a gap behind it.
fn network() -> Network {
    let mut network = NetworkBuilder::new(Shape::new(1, 4, 4), 2);
    network.module("m");
    let mut node = network.node("a", vec![], true);
    let geometry = Convolution {
        weight: ParamId(0),
        out_channels: 4,
        kernel: [1, 1],
        stride: 4,
        dilation: 1,
        padding: [0, 0],
        groups: 1,
    };
    let request = |name| ParamRequest { name, kind: name, largest: vec![4, 4, 1, 1] };
    let value = node.conv2d(ValueId::IMAGES, geometry, request("first")).unwrap();
    let geometry = Convolution { out_channels: 2, stride: 1, ..geometry };
    let value = node.conv2d(value, geometry, request("second")).unwrap();
    network.output(value, 1.0);
    network.finish().unwrap()
}

#[test]
fn what_a_generator_writes_is_checked() {
    let (_folder, library) = faulty(&[]);
    let catalogue: Catalogue = catalogue(&[&library]);
    let network = network();
    let build =
        |id| catalogue.generators.build(id, &Settings::new(), &context(&catalogue)).unwrap();
    let mut weights = Weights::zeros_for(network.params());
    for (id, part) in [
        ("nan", "'m.node0.first' holds NaN"),
        ("short", "'m.node0.first' was not written"),
        ("past", "1 floats outside of the buffer"),
        ("before", "1 floats outside of the buffer"),
        ("gap", "gap before 'm.node0.second'"),
    ] {
        let error = build(id).predict(&network, &mut weights).unwrap_err();
        is_fault_of(error, &format!("weight-generator '{id}', generate"), part);
        assert!(weights.as_slice().iter().all(|&value| value == 0.0) || id != "past");
    }
    // The second parameter has 8 values, of which this plugin writes 4.
    let error = build("good").predict(&network, &mut weights).unwrap_err();
    is_fault_of(error, "generate", "'m.node0.second' was not written");
}

/// The example space is in Rust: its panics are real ones.
#[test]
fn a_panic_in_rust_is_caught_in_the_plugin() {
    let catalogue = Catalogue::built_in().unwrap();
    let plugin = crate::common::open(&crate::common::example("space"));
    let (kind, id) = (PluginKind::SearchSpace, "example-space");
    let probe = plugin.probe(kind, id, &Settings::new(), &context(&catalogue)).unwrap();
    let text = probe.call("panic", b"on purpose").unwrap_err().to_string();
    assert!(text.contains("it panicked: on purpose"), "{text}");
    assert!(probe.call("sample", b"{}").unwrap_err().to_string().contains("unusable"));
}
