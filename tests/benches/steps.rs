//! Training steps on four architectures: one after the other, each with all threads, and at the same
//! time, each with its share of them. Cells of NAS-Bench-201 on 16 images each, by a GHN.
//!
//! `cargo bench -p ghnas-tests --bench steps`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::Path;
use std::time::Instant;

use ghnas_core::{Catalogue, Device};
use ghnas_engine::{
    Config, Context, Interrupt, Opening, Parts, Silent, Spares, Study, SystemClock, resolve, train,
};
use ghnas_executor_native as _;
use ghnas_ghn as _;
use ghnas_operations as _;
use ghnas_space_nas_bench_201 as _;

/// Steps of a training.
const STEPS: u32 = 60;

/// Trainings of each kind, in turn; the first is not counted.
const ROUNDS: usize = 6;

fn main() {
    let catalogue = Catalogue::built_in().expect("unique ids");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for cells in [1, 2] {
        let flags = [
            "space.id=nas-bench-201".into(),
            format!("space.settings.cells={cells}"),
            format!("train.steps={STEPS}"),
            "train.archs_per_step=4".into(),
            "train.split_batch=true".into(),
        ];
        let config = resolve(&[] as &[&Path], &flags, &catalogue).expect("known keys").config;
        // Without threads to share, architectures take turns on the executor of the parts.
        let run = |shared| milliseconds_a_step(&config, &catalogue, threads, shared);
        let mut times = [const { Vec::new() }; 2];
        for round in 0..ROUNDS {
            for (times, shared) in times.iter_mut().zip([1, threads]) {
                let time = run(shared);
                if round > 0 {
                    times.push(time);
                }
            }
        }
        let [in_turn, at_once] = times.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
        println!(
            "{cells} cells a stage, {threads} threads: in turn {in_turn:.1} ms a step, at once \
             {at_once:.1} ms, {:.2} times as fast",
            in_turn / at_once
        );
    }
}

/// Of a whole training, whose study is thrown away.
fn milliseconds_a_step(
    config: &Config,
    catalogue: &Catalogue,
    threads: usize,
    shared: usize,
) -> f64 {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let device = Device::Cpu;
    let mut parts = Parts::build(config, catalogue, device, threads).expect("known entries");
    let mut study = Study::open(dir.path(), config, Opening::Resume).expect("a new study");
    let (clock, interrupt) = (SystemClock::default(), Interrupt::default());
    let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
    let spares = Spares { catalogue, device, threads: shared };
    let started = Instant::now();
    train(&mut study, &mut parts, spares, &mut context, None).expect("it trains");
    1e3 * started.elapsed().as_secs_f64() / f64::from(STEPS)
}
