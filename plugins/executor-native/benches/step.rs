//! Time of one call on networks of the cell space, batch 64: forward and backward at the size of
//! training, forward alone at the size of scoring.
//!
//! `cargo bench -p ghnas-executor-native`

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use ghnas_core::{
    BuildContext, Catalogue, Executor, Images, Network, ParamId, Phase, Task, Weights, rng,
};
use ghnas_executor_native::{NativeExecutor, NativeSettings};
use rand::RngExt;
use {ghnas_operations as _, ghnas_space_cell as _};

const BATCH: usize = 64;

/// A network of the laptop preset with `channels` channels before the first reduction.
fn network(channels: usize, phase: Phase) -> Network {
    let catalogue = Catalogue::built_in().expect("ids are unique");
    let entry = catalogue.spaces.get("cell").expect("the space is linked");
    let mut settings = entry.presets[0].settings.clone();
    settings.insert("channels".into(), channels.into());
    let context = BuildContext::new(&catalogue);
    let space = catalogue.spaces.build("cell", &settings, &context).expect("settings are right");
    let arch = space.sample(phase, 1).expect("there is an architecture");
    space.lower(&arch, Task::CIFAR10).expect("the architecture is of the space")
}

fn random_weights(network: &Network) -> Weights {
    let mut rng = rng::stream(0, "weights", 0);
    let mut weights = Weights::zeros_for(network.params());
    for (index, param) in network.params().iter().enumerate() {
        let bound = (6.0 / param.fan_in as f32).sqrt();
        let values = weights.get_mut(ParamId(index as u32));
        values.iter_mut().for_each(|value| *value = rng.random_range(-bound..bound));
    }
    weights
}

fn steps(criterion: &mut Criterion) {
    let mut rng = rng::stream(0, "images", 0);
    let length = BATCH * Task::CIFAR10.image.elements();
    let data: Vec<f32> = (0..length).map(|_| rng.random_range(-2.0..2.0)).collect();
    let images = Images { data: &data, count: BATCH };
    let labels: Vec<u16> = (0..BATCH).map(|_| rng.random_range(0..10)).collect();
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for channels in [8, 16, 32] {
        let (train, score) = (network(channels, Phase::Train), network(channels, Phase::Score));
        let (train_weights, score_weights) = (random_weights(&train), random_weights(&score));
        for threads in [1, 2] {
            let name = format!("F={channels}, {threads} threads");
            let settings = NativeSettings::default();
            let mut executor = NativeExecutor::new(settings, threads).expect("threads start");
            let mut gradients = Weights::default();
            group.bench_function(BenchmarkId::new("forward and backward", &name), |bencher| {
                bencher.iter(|| {
                    executor
                        .loss_and_gradients(&train, &train_weights, images, &labels, &mut gradients)
                        .expect("the buffers fit")
                });
            });
            let mut logits = Vec::new();
            group.bench_function(BenchmarkId::new("evaluate", &name), |bencher| {
                bencher.iter(|| {
                    executor
                        .evaluate(&score, &score_weights, images, &mut logits)
                        .expect("the buffers fit");
                });
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    steps(&mut criterion);
    criterion.final_summary();
}
