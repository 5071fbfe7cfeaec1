//! The two peaks of this machine's roofline (Williams, Waterman and Patterson, 2009): arithmetic
//! and memory, measured with the executor's own instructions and threads.

use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::floats::Floats;
use crate::instructions::{Instructions, LANES, Lanes, Simd, kernel};
use crate::workspace::Pointer;
use crate::{ExecutorError, NativeSettings};

/// What no kernel of this executor can exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Giga floating-point operations a second of fused multiply-adds in registers, two each.
    pub gflops: f64,
    /// Gigabytes a second of a triad (a = b + factor * c) over buffers beyond the caches; three
    /// times a buffer's length, as STREAM counts.
    pub gbytes_per_s: f64,
}

/// Chains of multiply-adds that do not wait for each other: two units of a latency of at most
/// five cycles.
const CHAINS: usize = 12;

/// Links of each chain in one run, a few milliseconds.
const LINKS: usize = 1 << 21;

/// Floats of each of the triad's buffers: 64 MiB, beyond the caches of most processors.
const TRIAD: usize = 1 << 24;

/// The best of as many runs counts.
const RUNS: usize = 5;

/// Measures the peaks of `threads` threads; takes less than a second. `now` is a steady clock.
///
/// # Errors
/// In words, where the threads cannot be started, there is no memory, or the processor lacks the
/// instructions.
pub fn measure_peaks(
    settings: NativeSettings,
    threads: usize,
    now: &(dyn Fn() -> Duration + Sync),
) -> Result<Peaks, String> {
    let instructions = settings.instructions.resolve()?;
    let threads = threads.max(1);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| error.to_string())?;
    let best = |work: &mut dyn FnMut()| {
        let mut run = || {
            let begin = now();
            work();
            now().saturating_sub(begin).as_secs_f64().max(1e-9)
        };
        run();
        (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
    };
    let seconds = best(&mut || arithmetic(&pool, instructions));
    let operations = 2 * threads * CHAINS * LINKS * 2 * LANES;
    let gflops = operations as f64 / seconds / 1e9;

    let mut buffers = <[Floats; 3]>::default();
    for buffer in &mut buffers {
        buffer.reserve(TRIAD).map_err(|error: ExecutorError| error.to_string())?;
    }
    let seconds = best(&mut || triad(&pool, instructions, &mut buffers));
    let bytes = 3 * TRIAD * size_of::<f32>();
    Ok(Peaks { gflops, gbytes_per_s: bytes as f64 / seconds / 1e9 })
}

fn arithmetic(pool: &ThreadPool, instructions: Instructions) {
    pool.broadcast(|_| {
        let mut values: [f32; (CHAINS + 2) * 2 * LANES] =
            std::array::from_fn(|at| 0.5 + at as f32 / 1024.0);
        // SAFETY: `instructions` was resolved, and the values are as many as are read.
        unsafe { chains(instructions, std::hint::black_box(&mut values).as_mut_ptr()) };
        std::hint::black_box(&values);
    });
}

fn triad(pool: &ThreadPool, instructions: Instructions, buffers: &mut [Floats; 3]) {
    let threads = pool.current_num_threads();
    let parts = buffers.each_mut().map(|buffer| Pointer(buffer.start()));
    pool.broadcast(move |context| {
        let length = TRIAD / threads / LANES * LANES;
        let at = context.index() * length;
        // SAFETY: each thread has its own part of every buffer, which lasts until all are done.
        unsafe {
            let [to, plain, scaled] = parts.map(|buffer| buffer.part(at, length).as_mut_ptr());
            add_scaled(instructions, to, plain, scaled, length);
        }
    });
}

kernel! {
    /// Runs chains of multiply-adds from the pairs of vectors at `values`, to which their sum is
    /// written: a factor and a summand, then one pair a chain.
    chains(values: *mut f32) = chains_body
}

#[inline(always)]
unsafe fn chains_body<S: Simd>(values: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        // A pair of narrow vectors is two chains.
        if S::WIDE {
            run_chains::<S, CHAINS, 1>(values);
        } else {
            run_chains::<S, { CHAINS / 2 }, 2>(values);
        }
    }
}

#[inline(always)]
unsafe fn run_chains<S: Simd, const PAIRS: usize, const TIMES: usize>(values: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let pair = |index: usize| S::Pair::load(values.add(index * 2 * LANES));
        let (factor, summand) = (pair(0), pair(1));
        let mut sums = [factor; PAIRS];
        for (chain, sum) in sums.iter_mut().enumerate() {
            *sum = pair(2 + chain);
        }
        for _ in 0..TIMES * LINKS {
            for sum in &mut sums {
                *sum = S::Pair::mul_add(*sum, factor, summand);
            }
        }
        let total =
            sums.into_iter().fold(S::Pair::splat(0.0), |total, sum| S::Pair::add(total, sum));
        S::Pair::store(values, total);
    }
}

kernel! {
    /// Writes `plain` plus half of `scaled` to `to`, `length` each, a multiple of the lanes.
    add_scaled(to: *mut f32, plain: *const f32, scaled: *const f32, length: usize)
        = add_scaled_body
}

#[inline(always)]
unsafe fn add_scaled_body<S: Simd>(
    to: *mut f32,
    plain: *const f32,
    scaled: *const f32,
    length: usize,
) {
    for at in (0..length).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let sum = S::V::mul_add(
                S::V::splat(0.5),
                S::V::load(scaled.add(at)),
                S::V::load(plain.add(at)),
            );
            S::V::store(to.add(at), sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn peaks_are_those_of_a_computer() {
        let begin = Instant::now();
        let peaks = measure_peaks(NativeSettings::default(), 1, &|| begin.elapsed()).unwrap();
        // Between a microcontroller and the fastest core there is.
        assert!((0.1..1e4).contains(&peaks.gflops), "{peaks:?}");
        assert!((0.1..1e4).contains(&peaks.gbytes_per_s), "{peaks:?}");
    }
}
