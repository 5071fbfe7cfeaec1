//! `ghnas bench`: times on the user's own machine.

use std::path::Path;

use anyhow::Result;
use ghnas_core::Phase;
use ghnas_core::rng::derive_seed;
use ghnas_engine::{BenchOptions, Parts, SystemClock, Timing, bench_score, bench_step};

use crate::UsageError;
use crate::args::{BenchKind, ConfigArgs, Global};
use crate::session::{Session, print, print_json};
use crate::table::{self, Align};

pub(crate) fn run(
    global: Global,
    config: &ConfigArgs,
    what: BenchKind,
    arch: Option<&str>,
    options: BenchOptions,
    tensors: Option<&Path>,
) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let config = &session.resolved.config;
    let mut parts =
        Parts::build(config, &session.catalogue, session.global.device, session.threads())?;
    let phase = match what {
        BenchKind::Step => Phase::Train,
        BenchKind::Score => Phase::Score,
    };
    let arch = match arch {
        Some(argument) => session.architecture(&*parts.space, argument)?,
        None => parts.space.sample(phase, derive_seed(config.seed, "bench", 0))?,
    };
    let clock = SystemClock::default();
    match what {
        BenchKind::Step => {
            if let Some(path) = tensors {
                ghnas_engine::write_step_tensors(&mut parts, &arch, options.batch, path)?;
            }
            let bench = bench_step(&mut parts, &arch, &clock, options)?;
            if session.global.json {
                return print_json(&bench);
            }
            print(&format!(
                "{}batch {}, {} threads; the network computes {:.1} GFLOP/s\n",
                times(&[
                    ("network, forward and backward", bench.network),
                    ("generate", bench.generate),
                    ("vector-Jacobian product", bench.vjp),
                    ("update", bench.update),
                    ("training step", bench.total),
                ]),
                bench.batch,
                session.threads(),
                bench.network_gflops
            ))
        }
        BenchKind::Score => {
            if tensors.is_some() {
                return Err(UsageError("--tensors goes with bench step".into()).into());
            }
            let images = config.search.images;
            let bench = bench_score(&mut parts, &arch, &clock, images, options)?;
            if session.global.json {
                return print_json(&bench);
            }
            let lines = [("generate", bench.predict), ("evaluate", bench.evaluate)];
            print(&format!("{}{} images\n", times(&lines), bench.images))
        }
    }
}

fn times(lines: &[(&str, Timing)]) -> String {
    let header = [
        ("", Align::Left),
        ("median ms", Align::Right),
        ("least ms", Align::Right),
        ("runs", Align::Right),
    ];
    let row = |(name, timing): &(&str, Timing)| {
        vec![
            name.to_string(),
            format!("{:.2}", timing.median_ms),
            format!("{:.2}", timing.min_ms),
            timing.runs.to_string(),
        ]
    };
    table::format(&header, &lines.iter().map(row).collect::<Vec<_>>())
}
