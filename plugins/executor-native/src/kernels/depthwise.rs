//! Depthwise convolution: each channel by itself.

use super::{Extent, Source, Target, for_runs};
use crate::instructions::{LANES, Lanes, Simd, kernel};

kernel! {
    /// Writes to `to` the sum over taps of `from` at the tap times the tap's weights, [taps,
    /// channels]. `from` steps by the stride; its gradient runs the same kernel over other taps.
    depthwise(from: Source, taps: &[usize], weights: *const f32, to: Target, extent: Extent)
        = depthwise_body
}

#[inline(always)]
unsafe fn depthwise_body<S: Simd>(
    from: Source,
    taps: &[usize],
    weights: *const f32,
    to: Target,
    extent: Extent,
) {
    // Steps that the compiler knows cost no address arithmetic.
    // SAFETY: the caller's promise.
    unsafe {
        match from.pixel {
            8 => rows::<S, 8>(from, taps, weights, to, extent),
            16 => rows::<S, 16>(from, taps, weights, to, extent),
            32 => rows::<S, 32>(from, taps, weights, to, extent),
            _ => rows::<S, 0>(from, taps, weights, to, extent),
        }
    }
}

#[inline(always)]
unsafe fn rows<S: Simd, const STEP: usize>(
    from: Source,
    taps: &[usize],
    weights: *const f32,
    to: Target,
    extent: Extent,
) {
    let channels = extent.blocks * LANES;
    for y in 0..extent.height {
        for first in (0..channels).step_by(LANES) {
            for_runs!(extent.width, [8, 4, 2, 1], |x, N| {
                // SAFETY: the caller's promise; N pixels from (y, x) on lie in the extent.
                unsafe {
                    let run = Run {
                        from: from.pixel(y, x).add(first),
                        step: if STEP > 0 { STEP } else { from.pixel },
                        to: to.pixel(y, x).add(first),
                        to_step: to.pixel,
                    };
                    run.sum::<S, N>(taps, weights.add(first), channels);
                }
            });
        }
    }
}

/// Neighbouring pixels of one row, of which eight channels are made at once.
struct Run {
    from: *const f32,
    step: usize,
    to: *mut f32,
    to_step: usize,
}

impl Run {
    #[inline(always)]
    unsafe fn sum<S: Simd, const N: usize>(
        &self,
        taps: &[usize],
        weights: *const f32,
        channels: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [S::V::splat(0.0); N];
            let mut weight = weights;
            for &tap in taps {
                let factor = S::V::load(weight);
                let from = self.from.add(tap);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = S::V::mul_add(S::V::load(from.add(j * self.step)), factor, *sum);
                }
                weight = weight.wrapping_add(channels);
            }
            for (j, &sum) in sums.iter().enumerate() {
                S::V::store(self.to.add(j * self.to_step), sum);
            }
        }
    }
}

kernel! {
    /// Adds to `gradient`, [taps, channels], the sum over pixels of `from` at the tap times
    /// `upper`, the gradient of the result.
    depthwise_gradient(
        from: Source,
        taps: &[usize],
        upper: Source,
        gradient: *mut f32,
        extent: Extent,
    ) = depthwise_gradient_body
}

#[inline(always)]
unsafe fn depthwise_gradient_body<S: Simd>(
    from: Source,
    taps: &[usize],
    upper: Source,
    gradient: *mut f32,
    extent: Extent,
) {
    let channels = extent.blocks * LANES;
    for first in (0..channels).step_by(LANES) {
        let mut done = 0;
        while done < taps.len() {
            let rest = &taps[done..];
            // SAFETY: the caller's promise.
            unsafe {
                let to = gradient.add(done * channels + first);
                // The groups are chosen so that 9 and 25 taps leave no rest.
                done += match rest.len() {
                    8 | 16 => tap_sums::<S, 8>(from, rest, upper, to, first, extent),
                    9.. => tap_sums::<S, 9>(from, rest, upper, to, first, extent),
                    4.. => tap_sums::<S, 4>(from, rest, upper, to, first, extent),
                    _ => tap_sums::<S, 1>(from, rest, upper, to, first, extent),
                };
            }
        }
    }
}

/// The first `N` of `taps` for eight channels; returns `N`.
#[inline(always)]
unsafe fn tap_sums<S: Simd, const N: usize>(
    from: Source,
    taps: &[usize],
    upper: Source,
    to: *mut f32,
    first: usize,
    extent: Extent,
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let mut offsets = [0; N];
        offsets.copy_from_slice(&taps[..N]);
        let mut sums = [S::V::splat(0.0); N];
        for y in 0..extent.height {
            let (mut from_at, mut upper_at) =
                (from.pixel(y, 0).add(first), upper.pixel(y, 0).add(first));
            for _ in 0..extent.width {
                let factor = S::V::load(upper_at);
                for (sum, &offset) in sums.iter_mut().zip(&offsets) {
                    *sum = S::V::mul_add(S::V::load(from_at.add(offset)), factor, *sum);
                }
                from_at = from_at.wrapping_add(from.pixel);
                upper_at = upper_at.wrapping_add(upper.pixel);
            }
        }
        for (j, &sum) in sums.iter().enumerate() {
            let at = to.add(j * extent.blocks * LANES);
            S::V::store(at, S::V::add(S::V::load(at), sum));
        }
    }
    N
}
