//! Loading plugins, and sampling and lowering 17-node cells: the cell space built in and as a
//! plugin. The limits are those of docs/abi.md.
//!
//! `cargo bench -p ghnas-plugin-host --bench sampling`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{least_of_both, library};
use ghnas_core::{BuildContext, Catalogue, Phase, Registration, SearchSpace, Task, inventory};
use ghnas_operations as _;
use ghnas_plugin_host::{Plugin, sha256};
use ghnas_space_cell as _;

/// Cells of a round: few, so that some rounds are not interrupted on a busy machine.
const CELLS: u64 = 20;

const ROUNDS: usize = 300;

fn build(catalogue: &Catalogue) -> Arc<dyn SearchSpace> {
    let context = BuildContext::new(catalogue);
    let preset = &catalogue.spaces.get("cell").expect("it is there").presets[0];
    catalogue.spaces.build("cell", &preset.settings, &context).expect("a preset")
}

fn main() {
    load();
    let built_in = Catalogue::built_in().expect("unique ids");
    let mut with_plugin = Catalogue::empty();
    for registration in inventory::iter::<Registration> {
        if registration.source == "ghnas-operations" {
            with_plugin.add(registration).expect("unique ids");
        }
    }
    let plugin = Plugin::open(&library("ghnas_space_cell")).expect("it was built");
    plugin.add_to(&mut with_plugin).expect("unique ids");
    let (own, other) = (build(&built_in), build(&with_plugin));
    for seed in 0..20 {
        let sample = |space: &dyn SearchSpace| space.sample(Phase::Score, seed).expect("valid");
        assert_eq!(sample(&*own), sample(&*other), "both are the same space");
    }
    let sample = |space: &dyn SearchSpace| {
        for seed in 0..CELLS {
            black_box(space.sample(Phase::Score, seed).expect("valid"));
        }
    };
    let times = least_of_both(ROUNDS, || sample(&*own), || sample(&*other));
    report("sample a 17-node cell", times, CELLS);
    let cells: Vec<_> = (0..4).map(|seed| own.sample(Phase::Score, seed).expect("valid")).collect();
    let lower = |space: &dyn SearchSpace| {
        for arch in &cells {
            black_box(space.lower(arch, Task::CIFAR10).expect("valid"));
        }
    };
    let times = least_of_both(ROUNDS, || lower(&*own), || lower(&*other));
    report("lower it to 6 blocks", times, cells.len() as u64);
}

fn report(what: &str, [own, other]: [Duration; 2], count: u64) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{what}: built in {:.1} us, plugin {:.1} us, {:.2} times; {:.0} a second",
        micros(own),
        micros(other),
        other.as_secs_f64() / own.as_secs_f64(),
        count as f64 / other.as_secs_f64(),
    );
}

/// Reads, hashes, copies and opens the library of the cell space ten times.
fn load() {
    let library = library("ghnas_space_cell");
    let mut least = Duration::MAX;
    for _ in 0..10 {
        let started = Instant::now();
        for _ in 0..10 {
            black_box(sha256(&std::fs::read(&library).expect("it was built")));
            black_box(Plugin::open(&library).expect("it is a plugin"));
        }
        least = least.min(started.elapsed());
    }
    println!("load ten plugins: {:.1} ms", least.as_secs_f64() * 1e3);
}
