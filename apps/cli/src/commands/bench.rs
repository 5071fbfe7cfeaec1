//! `ghnas bench`: times on the user's own machine.

use std::path::Path;

use anyhow::Result;
use ghnas_core::rng::derive_seed;
use ghnas_core::{Architecture, Device, Phase};
use ghnas_engine::{
    BenchOptions, Clock, Measured, OpBench, Parts, Pass, Roofline, SystemClock, Timing, bench_ops,
    bench_score, bench_step,
};
use ghnas_executor_native::{NativeSettings, measure_peaks};

use crate::UsageError;
use crate::args::{BenchKind, ConfigArgs, Global};
use crate::session::{Session, print, print_json};
use crate::table::{self, Align};

/// Architectures whose primitives are timed where none is given.
const SAMPLED_FOR_OPS: u64 = 3;

/// What the flags say.
pub(crate) struct Options<'a> {
    pub(crate) arch: Option<&'a str>,
    pub(crate) batch: usize,
    pub(crate) runs: usize,
    pub(crate) tensors: Option<&'a Path>,
}

pub(crate) fn run(
    global: Global,
    config: &ConfigArgs,
    what: BenchKind,
    options: Options<'_>,
) -> Result<()> {
    if options.tensors.is_some() && what != BenchKind::Step {
        return Err(UsageError("--tensors goes with bench step".into()).into());
    }
    let session = Session::new(global, config, None)?;
    let config = &session.resolved.config;
    let mut parts =
        Parts::build(config, &session.catalogue, session.global.device, session.threads())?;
    let (phase, samples) = match what {
        BenchKind::Step => (Phase::Train, 1),
        BenchKind::Score => (Phase::Score, 1),
        BenchKind::Ops => (Phase::Score, SAMPLED_FOR_OPS),
    };
    let sample = |index| parts.space.sample(phase, derive_seed(config.seed, "bench", index));
    let archs: Vec<Architecture> = match options.arch {
        Some(argument) => vec![session.architecture(&*parts.space, argument)?],
        None => (0..samples).map(sample).collect::<Result<_, _>>()?,
    };
    let arch = &archs[0];
    let clock = SystemClock::default();
    let Options { batch, runs, .. } = options;
    let bench = BenchOptions { batch, runs, roofline: roofline(&session, &clock)? };
    let surroundings = format!("batch {batch}, {} threads", session.threads());
    match what {
        BenchKind::Step => {
            if let Some(path) = options.tensors {
                ghnas_engine::write_step_tensors(&mut parts, arch, batch, path)?;
            }
            let step = bench_step(&mut parts, arch, &clock, bench)?;
            if session.global.json {
                return print_json(&step);
            }
            let table = times(&[
                ("network, forward and backward", step.network.timing),
                ("generate", step.generate),
                ("vector-Jacobian product", step.vjp),
                ("update", step.update),
                ("training step", step.total),
            ]);
            print(&format!("{table}{surroundings}; {}\n", rates("network", &step.network, bench)))
        }
        BenchKind::Score => {
            let images = config.search.images;
            let score = bench_score(&mut parts, arch, &clock, images, bench)?;
            if session.global.json {
                return print_json(&score);
            }
            let table = times(&[("generate", score.predict), ("evaluate", score.evaluate.timing)]);
            let rates = rates("network", &score.evaluate, bench);
            print(&format!("{table}{} images, {surroundings}; {rates}\n", score.images))
        }
        BenchKind::Ops => {
            let ops = bench_ops(&mut parts, &archs, &clock, bench)?;
            if session.global.json {
                return print_json(&ops);
            }
            let peaks = peaks(bench).map(|peaks| format!("; the machine's peaks are {peaks}"));
            print(&format!("{}{surroundings}{}\n", op_table(&ops.ops), peaks.unwrap_or_default()))
        }
    }
}

/// The machine's peaks, where networks run on its processor.
fn roofline(session: &Session, clock: &SystemClock) -> Result<Option<Roofline>> {
    if session.global.device != Device::Cpu {
        return Ok(None);
    }
    let peaks = measure_peaks(NativeSettings::default(), session.threads(), &|| clock.now());
    let peaks = peaks.map_err(anyhow::Error::msg)?;
    Ok(Some(Roofline { gflops: peaks.gflops, gbytes_per_s: peaks.gbytes_per_s }))
}

fn peaks(options: BenchOptions) -> Option<String> {
    let Roofline { gflops, gbytes_per_s } = options.roofline?;
    Some(format!("{gflops:.0} GFLOP/s and {gbytes_per_s:.1} GB/s"))
}

/// How fast `what` is, in one sentence.
fn rates(what: &str, measured: &Measured, options: BenchOptions) -> String {
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{rate:.1}"));
    let mut text = format!(
        "the {what} computes {} GFLOP/s and moves {} GB/s",
        rate(measured.gflops),
        rate(measured.gbytes_per_s)
    );
    if let (Some(share), Some(peaks)) = (measured.peak_fraction, peaks(options)) {
        text += &format!(", {:.0}% of the roofline of {peaks}", 100.0 * share);
    }
    text
}

fn op_table(ops: &[OpBench]) -> String {
    let header = [
        ("primitive", Align::Left),
        ("pass", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("times", Align::Right),
        ("median ms", Align::Right),
        ("least ms", Align::Right),
        ("GFLOP/s", Align::Right),
        ("GB/s", Align::Right),
        ("of peak", Align::Right),
    ];
    let row = |op: &OpBench| {
        let rate = |rate: Option<f64>, digits: usize| {
            rate.map_or("-".into(), |rate| format!("{rate:.digits$}"))
        };
        let share = op.measured.peak_fraction.map(|share| 100.0 * share);
        let from = match op.inputs[..] {
            [one] => one.to_string(),
            _ => format!("{} of {}", op.inputs.len(), op.inputs[0]),
        };
        vec![
            op.name.clone(),
            match op.pass {
                Pass::Forward => "forward".into(),
                Pass::ForwardBackward => "both".into(),
            },
            from,
            op.output.to_string(),
            op.occurrences.to_string(),
            format!("{:.3}", op.measured.timing.median_ms),
            format!("{:.3}", op.measured.timing.min_ms),
            rate(op.measured.gflops, 1),
            rate(op.measured.gbytes_per_s, 1),
            share.map_or("-".into(), |share| format!("{share:.0}%")),
        ]
    };
    table::format(&header, &ops.iter().map(row).collect::<Vec<_>>())
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
