//! Layers of configuration, and what is said about wrong ones.

use std::path::{Path, PathBuf};

use super::*;
use crate::toy;

/// The toys, so that no built-in space is needed.
const TOYS: [&str; 3] = ["space.id=toy", "generator.id=toy-generator", "executor.id=toy-executor"];

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> (Self, PathBuf) {
        let folder = Self(tempfile::tempdir().unwrap());
        let path = folder.0.path().join("my.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }
}

fn layered(text: &str, flags: &[&str]) -> Result<Resolved, ConfigError> {
    let (_folder, path) = Folder::with(text);
    let flags: Vec<String> = TOYS.iter().chain(flags).map(|&flag| flag.into()).collect();
    resolve(&[&path], &flags, &toy::catalogue())
}

#[track_caller]
fn refused(text: &str, flags: &[&str], expected: &[&str]) {
    let error = layered(text, flags).expect_err("the config is wrong").to_string();
    for part in expected {
        assert!(error.contains(part), "'{error}' lacks '{part}'");
    }
}

#[test]
fn later_layers_win_and_are_named() {
    let text = "seed = 3\n[train]\nsteps = 10\nhalve_at = [0.25]\n[space]\npreset = \"large\"\n";
    let resolved = layered(text, &["train.steps=20", "space.settings.ops=[\"wide\"]"]).unwrap();
    assert_eq!((resolved.config.seed, resolved.config.train.steps), (3, 20));
    assert_eq!(resolved.config.train.halve_at, [0.25]);
    let leaf = |key: &str| {
        let leaves = resolved.leaves();
        let leaf = leaves.into_iter().find(|leaf| leaf.key == key).unwrap();
        (leaf.value.unwrap_or_default(), leaf.source.to_string())
    };
    assert_eq!(leaf("train.batch"), ("64".into(), "default".into()));
    assert_eq!(leaf("train.steps"), ("20".into(), "flag --set train.steps=20".into()));
    assert_eq!(leaf("space.settings.nodes"), ("9".into(), "preset large".into()));
    assert_eq!(leaf("data.dir"), (String::new(), "default".into()));
    assert_eq!(leaf("space.settings.ops").0, "[\"wide\"]");
    let (value, source) = leaf("train.halve_at");
    assert_eq!(value, "[0.25]");
    assert!(source.ends_with("my.toml, line 4"), "{source}");
}

#[test]
fn a_resolved_config_resolves_to_itself() {
    let resolved = layered("", &["space.preset=large", "data.dir=images", "seed=7"]).unwrap();
    let (_folder, path) = Folder::with(&resolved.config.to_toml());
    let again = resolve(&[&path], &[], &toy::catalogue()).unwrap();
    assert_eq!(again.config, resolved.config);
}

#[test]
fn unknown_keys_get_a_suggestion() {
    refused("[train]\nstepz = 5", &[], &["my.toml, line 2", "'train.stepz'", "'train.steps'"]);
    refused("steps = 5", &[], &["line 1", "unknown key 'steps'", "did you mean 'train.steps'"]);
    refused("[trian]", &[], &["unknown key 'trian'"]);
    refused("[train.steps]\nx = 1", &[], &["unknown key 'train.steps.x'"]);
    let expected = ["--set space.settings.nodez=3", "did you mean 'space.settings.nodes'"];
    refused("", &["space.settings.nodez=3"], &expected);
    refused("", &["generator.settings.rounds=3"], &["'generator.settings.rounds'"]);
}

#[test]
fn wrong_values_are_named_with_what_was_expected() {
    refused("[train]\n\nsteps = \"x\"", &[], &["line 3", "train.steps = \"x\"", "expected u64"]);
    refused("seed = -1", &[], &["seed = -1", "expected u64"]);
    refused("train = 5", &[], &["train = 5", "line 1"]);
    refused("seed = 2020-02-02", &[], &["seed = \"2020-02-02\""]);
    refused("[train]\nlearning_rate = inf", &[], &["train.learning_rate", "expected f64"]);
    refused("", &["search.objective=speed"], &["unknown variant `speed`", "loss"]);
    refused("", &["space.settings.nodes=many"], &["space.settings.nodes", "expected a number"]);
    refused("", &["train.steps=1\nseed = 5"], &["train.steps", "expected u64"]);
}

#[test]
fn values_out_of_range_are_named_with_the_range() {
    for (flag, expected) in [
        ("data.name=imagenet", "expected cifar10"),
        ("data.validation=1", "expected at least 2"),
        ("train.steps=0", "expected at least 1"),
        ("train.batch=1", "expected 2 to"),
        ("train.learning_rate=0", "expected a number above 0"),
        ("train.halve_at=[0.75, 0.5]", "expected ascending numbers between 0 and 1"),
        ("train.halve_at=[1]", "expected ascending numbers between 0 and 1"),
        ("train.clip_norm=-1", "expected a number above 0"),
        ("train.archs_per_step=0", "expected 1 to"),
        ("train.evaluate_every=9999999999999", "expected 0 or more, up to 1099511627776"),
        ("train.probes=2", "expected 3 to 4096"),
        ("train.probe_steps=0", "expected at least 1"),
        ("train.patience=9999999999999", "expected 0 or more, up to 1099511627776"),
        ("train.checkpoint_seconds=-1", "expected seconds"),
        ("search.candidates=0", "expected at least 1"),
        ("search.images=0", "expected at least 2"),
        ("search.batch=1", "expected 2 to"),
        ("search.top=0", "expected at least 1"),
        ("search.variants=[{ settings = {}, share = 1, images = 4 }]", "less than 1"),
        ("search.variants=[{ settings = {}, share = 0, images = 4 }]", "shares above 0"),
        ("search.variants=[{ settings = {}, share = 0.1, images = 501 }]", "images = 500"),
        ("search.variants=[{ settings = {}, share = 0.1 }]", "missing field `images`"),
    ] {
        let key = flag.split_once('=').unwrap().0;
        refused("", &[flag], &[key, expected, "flag --set"]);
    }
}

#[test]
fn a_batch_that_cannot_be_split_is_refused_whatever_the_order() {
    let split = ["train.split_batch=true", "train.archs_per_step=6"];
    refused("", &split, &["default: train.batch = 64", "train.archs_per_step = 6"]);
    refused("[train]\nbatch = 6", &split, &["my.toml, line 2", "train.batch = 6", "2 images"]);
    refused("", &["train.split_batch=4"], &["train.split_batch = 4", "expected a boolean"]);
    let text = "[train]\nbatch = 12";
    let train = layered(text, &split).unwrap().config.train;
    assert_eq!((train.batch, train.images_per_arch()), (12, 2));
    let train = layered(text, &split[1..]).unwrap().config.train;
    assert_eq!(train.images_per_arch(), 12);
}

#[test]
fn selection_and_patience_need_evaluations() {
    let selections = ["validation_loss", "stability", "brief_training"];
    let selections = selections.map(|by| format!("train.select={by}"));
    for flag in selections.iter().map(String::as_str).chain(["train.patience=3"]) {
        refused("", &[flag], &["train.evaluate_every = 0", "expected at least 1"]);
        layered("", &[flag, "train.evaluate_every=100"]).unwrap();
    }
    refused("", &["train.select=best"], &["unknown variant `best`", "stability"]);
    refused("", &["train.sampling=even"], &["unknown variant `even`", "fair"]);
    refused("", &["train.pool=0"], &["train.pool = 0", "expected 1 to 64"]);
}

#[test]
fn unknown_entries_list_what_there_is() {
    refused("", &["space.id=toi"], &["space.id", "did you mean 'toy'"]);
    refused("", &["space.preset=smal"], &["space.preset", "'small'", "small, large"]);
    refused("[searcher]\nid = \"randon\"", &[], &["my.toml, line 2", "did you mean 'random'"]);
}

#[test]
fn files_and_flags_that_cannot_be_read_are_named() {
    refused("seed = 1\n[train", &[], &["my.toml, line 2"]);
    refused("seed = 1\nseed = 2", &[], &["my.toml, line 2", "duplicate"]);
    refused("", &["train.steps"], &["--set train.steps", "key.path=value"]);
    refused("", &["train..steps=1"], &["key.path=value"]);
    let missing = Path::new("no-such-folder/my.toml");
    let error = resolve(&[missing], &[], &toy::catalogue()).unwrap_err();
    assert!(error.to_string().contains("no-such-folder/my.toml"), "{error}");
}

#[test]
fn a_study_from_before_a_key_goes_on_with_its_default() {
    let plain = layered("", &[]).unwrap().config;
    assert!(!plain.fixed_part().contains("variants"));
    let flag = "search.variants=[{ settings = {}, share = 0.1, images = 2 }]";
    let other = layered("", &[flag]).unwrap().config;
    assert!(other.fixed_part().contains("variants"));
    assert_eq!(plain.changed_keys(&other), ["search.variants"]);
    assert_eq!(other.changed_keys(&plain), ["search.variants"]);
}

#[test]
fn words_need_no_quotes_in_flags() {
    let config =
        layered("", &["data.dir=/some/where", "search.objective=accuracy"]).unwrap().config;
    assert_eq!(config.data.dir.as_deref(), Some(Path::new("/some/where")));
    assert_eq!(config.search.objective, Objective::Accuracy);
}
