//! Libraries and times that both benchmarks use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The library of a crate that is a dependency of this one: cargo puts it beside the benchmark.
pub(crate) fn library(name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let bench = std::env::current_exe().expect("it runs");
    bench.parent().expect("it lies in a folder").join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
}

/// The least time of each of two pieces of work, which take turns, so that whatever else the
/// machine does slows both.
pub(crate) fn least_of_both(
    rounds: usize,
    mut first: impl FnMut(),
    mut second: impl FnMut(),
) -> [Duration; 2] {
    let time = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    let mut least = [Duration::MAX; 2];
    for _ in 0..rounds {
        least[0] = least[0].min(time(&mut first));
        least[1] = least[1].min(time(&mut second));
    }
    least
}
