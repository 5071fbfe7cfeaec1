//! Times of the GHN's calls on networks of the cell space's laptop preset: the parts of a training
//! step on a 7-node cell, and prediction for a 17-node cell.
//!
//! `cargo bench -p ghnas-ghn`

use criterion::{BatchSize, Criterion};
use ghnas_core::registry::BuildContext;
use ghnas_core::{
    Catalogue, Network, Phase, Settings, Shape, StepOptions, Task, WeightGenerator, Weights,
};
use ghnas_ghn as _;
use ghnas_space_cell as _;

/// How many architectures each measurement goes through.
const ARCHITECTURES: u64 = 16;

fn networks(catalogue: &Catalogue, context: &BuildContext<'_>, phase: Phase) -> Vec<Network> {
    let preset = &catalogue.spaces.get("cell").expect("it is linked").presets[0];
    let space = catalogue.spaces.build("cell", &preset.settings, context).expect("a preset");
    let task = Task { image: Shape::new(3, 32, 32), classes: 10 };
    let network = |seed| space.lower(&space.sample(phase, seed).expect("sampled"), task);
    (0..ARCHITECTURES).map(|seed| network(seed).expect("valid")).collect()
}

fn benches(criterion: &mut Criterion) {
    let catalogue = Catalogue::built_in().expect("unique ids");
    let context = BuildContext { seed: 1, ..BuildContext::new(&catalogue) };
    let train = networks(&catalogue, &context, Phase::Train);
    let score = networks(&catalogue, &context, Phase::Score);
    let ghn = catalogue.generators.build("ghn", &Settings::new(), &context);
    let mut ghn: Box<dyn WeightGenerator> = ghn.expect("default settings");
    let options = StepOptions { learning_rate: 1e-3, clip_norm: 5.0 };
    let mut weights = Weights::default();
    let mut all = train.iter().cycle();
    let mut next = || all.next().expect("a cycle");

    let mut group = criterion.benchmark_group("ghn");
    group.bench_function("generate, 7 nodes", |bencher| {
        bencher.iter(|| {
            let network = next();
            weights.reset_for(network.params());
            let ticket = ghn.generate(network, &mut weights).expect("generated");
            ghn.discard(ticket);
        });
    });
    group.bench_function("vjp, 7 nodes", |bencher| {
        // Both closures need the generator: the cell lends it to one at a time.
        let ghn = std::cell::RefCell::new(&mut ghn);
        let generate = || {
            let network = next();
            let mut weights = Weights::zeros_for(network.params());
            let ticket = ghn.borrow_mut().generate(network, &mut weights).expect("generated");
            (ticket, weights)
        };
        let vjp = |(ticket, gradients)| ghn.borrow_mut().vjp(ticket, &gradients).expect("known");
        bencher.iter_batched(generate, vjp, BatchSize::PerIteration);
    });
    group.bench_function("generate, vjp, step, 7 nodes", |bencher| {
        bencher.iter(|| {
            let network = next();
            weights.reset_for(network.params());
            let ticket = ghn.generate(network, &mut weights).expect("generated");
            ghn.vjp(ticket, &weights).expect("known");
            ghn.step(options).expect("a step")
        });
    });
    let mut all = score.iter().cycle();
    group.bench_function("predict, 17 nodes", |bencher| {
        bencher.iter(|| {
            let network = all.next().expect("a cycle");
            weights.reset_for(network.params());
            ghn.predict(network, &mut weights).expect("predicted");
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
