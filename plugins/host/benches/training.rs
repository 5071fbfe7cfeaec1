//! A training step of the laptop preset with the example's weight generator built in and as a
//! plugin. The limit is that of docs/abi.md.
//!
//! `cargo bench -p ghnas-plugin-host --bench training`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod common;

use std::cell::RefCell;

use common::{least_of_both, library};
use ghnas_core::{
    BuildContext, Catalogue, Executor, Images, Network, Phase, Registration, Settings, StepOptions,
    Task, WeightGenerator, Weights, inventory,
};
use ghnas_example_generator as _;
use ghnas_executor_native as _;
use ghnas_operations as _;
use ghnas_plugin_host::Plugin;

const ID: &str = "example-generator";

/// Images a step, as in the laptop preset.
const BATCH: usize = 64;

const ROUNDS: usize = 40;

fn context(catalogue: &Catalogue) -> BuildContext<'_> {
    BuildContext::new(catalogue)
}

fn main() {
    let built_in = Catalogue::built_in().expect("unique ids");
    let mut with_plugin = Catalogue::empty();
    for registration in inventory::iter::<Registration> {
        if registration.id != ID {
            with_plugin.add(registration).expect("unique ids");
        }
    }
    for name in ["ghnas_example_generator", "ghnas_space_cell"] {
        let plugin = Plugin::open(&library(name)).expect("it was built");
        plugin.add_to(&mut with_plugin).expect("unique ids");
    }
    let preset = &with_plugin.spaces.get("cell").expect("it is there").presets[0];
    let space = with_plugin.spaces.build("cell", &preset.settings, &context(&with_plugin));
    let space = space.expect("a preset");
    let arch = space.sample(Phase::Train, 0).expect("valid");
    let network = space.lower(&arch, Task::CIFAR10).expect("valid");
    let generator = |catalogue: &Catalogue| {
        catalogue.generators.build(ID, &Settings::new(), &context(catalogue)).expect("it is there")
    };
    let settings = built_in.executors.get("native").expect("it is there").default_settings();
    let executor = built_in.executors.build("native", &settings, &context(&built_in));
    let training = RefCell::new(Training {
        executor: executor.expect("default settings"),
        images: vec![0.5; BATCH * Task::CIFAR10.image.elements()],
        labels: (0..BATCH as u16).map(|image| image % 10).collect(),
        weights: Weights::default(),
        gradients: Weights::default(),
    });
    let (mut own, mut other) = (generator(&built_in), generator(&with_plugin));
    let [own, other] = least_of_both(
        ROUNDS,
        || training.borrow_mut().step(&mut *own, &network),
        || training.borrow_mut().step(&mut *other, &network),
    );
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    println!(
        "training step: built in {:.1} ms, plugin {:.1} ms, {:.3} times",
        millis(own),
        millis(other),
        other.as_secs_f64() / own.as_secs_f64()
    );
}

struct Training {
    executor: Box<dyn Executor>,
    images: Vec<f32>,
    labels: Vec<u16>,
    weights: Weights,
    gradients: Weights,
}

impl Training {
    /// What the engine does in a step, but for the data.
    fn step(&mut self, generator: &mut dyn WeightGenerator, network: &Network) {
        let Self { executor, images, labels, weights, gradients } = self;
        weights.reset_for(network.params());
        gradients.reset_for(network.params());
        let ticket = generator.generate(network, weights).expect("finite");
        let images = Images { data: images, count: BATCH };
        executor
            .loss_and_gradients(network, weights, images, labels, gradients)
            .expect("it runs every network");
        generator.vjp(ticket, gradients).expect("a fresh ticket");
        let options = StepOptions { learning_rate: 1e-4, clip_norm: 5.0 };
        generator.step(options).expect("finite");
    }
}
