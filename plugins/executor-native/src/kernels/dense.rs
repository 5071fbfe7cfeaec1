//! Convolution that mixes channels, pointwise included, as a matrix product without unfolding.

use super::{Extent, Source, Target, for_runs};
use crate::instructions::{LANES, Simd, kernel};

kernel! {
    /// Writes to `to` the sum over taps and `inputs` channels of `from` at the tap times the
    /// weights, [taps, inputs, outputs], both padded. `extent` is the result's. The gradient of `from` comes
    /// from the same kernel over other taps and transposed weights.
    dense(
        from: Source,
        taps: &[usize],
        inputs: usize,
        weights: *const f32,
        to: Target,
        extent: Extent,
    ) = dense_body
}

#[inline(always)]
unsafe fn dense_body<S: Simd>(
    from: Source,
    taps: &[usize],
    inputs: usize,
    weights: *const f32,
    to: Target,
    extent: Extent,
) {
    let extent = extent.flat([(from.row, from.pixel), (to.row, to.pixel)]);
    // SAFETY: the caller's promise.
    unsafe {
        match from.pixel {
            8 => rows::<S, 8>(from, taps, inputs, weights, to, extent),
            16 => rows::<S, 16>(from, taps, inputs, weights, to, extent),
            32 => rows::<S, 32>(from, taps, inputs, weights, to, extent),
            _ => rows::<S, 0>(from, taps, inputs, weights, to, extent),
        }
    }
}

#[inline(always)]
unsafe fn rows<S: Simd, const STEP: usize>(
    from: Source,
    taps: &[usize],
    inputs: usize,
    weights: *const f32,
    to: Target,
    extent: Extent,
) {
    let outputs = extent.blocks * LANES;
    for y in 0..extent.height {
        // The weights of all outputs are as many as an image's row, so either order would do;
        // pixels outside keep `from` in the first-level cache.
        let mut block = 0;
        while block < extent.blocks {
            let pair = block + 2 <= extent.blocks;
            // SAFETY: the caller's promise.
            let run = |x: usize| unsafe {
                Run {
                    from: from.pixel(y, x),
                    step: if STEP > 0 { STEP } else { from.pixel },
                    inputs,
                    weights: weights.add(block * LANES),
                    outputs,
                    to: to.pixel(y, x).add(block * LANES),
                    to_step: to.pixel,
                }
            };
            // Six pixels by two vectors are the most sums that leave registers for the factors;
            // so many runs of six that what is left is runs of four.
            let sixes = (0..extent.width / 6 + 1).rev().find(|n| (extent.width - 6 * n) % 4 == 0);
            let sixes = if pair { sixes.unwrap_or(0) } else { 0 };
            for six in 0..sixes {
                // SAFETY: the caller's promise; the pixels lie in the extent.
                unsafe { run(6 * six).product::<S, 6, 2>(taps) };
            }
            for_runs!(extent.width - 6 * sixes, [8, 4, 1], |x, N| {
                // SAFETY: the caller's promise; N pixels from (y, x) on lie in the extent.
                unsafe {
                    let x = 6 * sixes + x;
                    match (pair, N) {
                        (false, _) => run(x).product::<S, N, 1>(taps),
                        (true, 8) => {
                            run(x).product::<S, 4, 2>(taps);
                            run(x + 4).product::<S, 4, 2>(taps);
                        }
                        (true, _) => run(x).product::<S, N, 2>(taps),
                    }
                }
            });
            block += if pair { 2 } else { 1 };
        }
    }
}

/// Neighbouring pixels of one row, of which one or two vectors of outputs are made at once.
struct Run {
    from: *const f32,
    step: usize,
    inputs: usize,
    weights: *const f32,
    outputs: usize,
    to: *mut f32,
    to_step: usize,
}

impl Run {
    /// `N` pixels, `B` vectors.
    #[inline(always)]
    unsafe fn product<S: Simd, const N: usize, const B: usize>(&self, taps: &[usize]) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[S::splat(0.0); B]; N];
            let tap_weights = self.inputs.next_multiple_of(LANES) * self.outputs;
            for (index, &tap) in taps.iter().enumerate() {
                let mut weight = self.weights.add(index * tap_weights);
                // A pointer a pixel: with a step that the compiler does not know, anything else
                // costs an addition a product.
                let mut rows = [self.from; N];
                for (pixel, row) in rows.iter_mut().enumerate() {
                    *row = self.from.add(tap + pixel * self.step);
                }
                for input in 0..self.inputs {
                    let mut factors = [S::splat(0.0); B];
                    for (j, factor) in factors.iter_mut().enumerate() {
                        *factor = S::load(weight.add(j * LANES));
                    }
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let x = S::splat(*row.add(input));
                        for (sum, &factor) in sums.iter_mut().zip(&factors) {
                            *sum = S::mul_add(x, factor, *sum);
                        }
                    }
                    weight = weight.wrapping_add(self.outputs);
                }
            }
            for (pixel, sums) in sums.iter().enumerate() {
                let to = self.to.add(pixel * self.to_step);
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(to.add(j * LANES), sum);
                }
            }
        }
    }
}

/// Floats of both operands of a weight gradient that are read again and again from the first-level
/// cache.
const BAND: usize = 6144;

kernel! {
    /// Adds to `gradient`, [taps, inputs, outputs], both padded, the sum over pixels of `from` at
    /// the tap times `upper`, the gradient of the result, whose extent `extent` is.
    dense_gradient(
        from: Source,
        taps: &[usize],
        inputs: usize,
        upper: Source,
        gradient: *mut f32,
        extent: Extent,
    ) = dense_gradient_body
}

#[inline(always)]
unsafe fn dense_gradient_body<S: Simd>(
    from: Source,
    taps: &[usize],
    inputs: usize,
    upper: Source,
    gradient: *mut f32,
    extent: Extent,
) {
    let extent = extent.flat([(from.row, from.pixel), (upper.row, upper.pixel)]);
    let pixels = (BAND / (from.pixel + upper.pixel)).max(1);
    let (rows, columns) = ((pixels / extent.width).max(1), pixels.max(8).min(extent.width));
    for y in (0..extent.height).step_by(rows) {
        for x in (0..extent.width).step_by(columns) {
            let height = rows.min(extent.height - y);
            let width = columns.min(extent.width - x);
            // SAFETY: the caller's promise; the band lies in the extent.
            unsafe {
                let from = Source { at: from.pixel(y, x), ..from };
                let upper = Source { at: upper.pixel(y, x), ..upper };
                let band = Extent { height, width, ..extent };
                dense_gradient_band::<S>(from, taps, inputs, upper, gradient, band);
            }
        }
    }
}

#[inline(always)]
unsafe fn dense_gradient_band<S: Simd>(
    from: Source,
    taps: &[usize],
    inputs: usize,
    upper: Source,
    gradient: *mut f32,
    extent: Extent,
) {
    let outputs = extent.blocks * LANES;
    for (index, &tap) in taps.iter().enumerate() {
        let mut block = 0;
        while block < extent.blocks {
            let pair = block + 2 <= extent.blocks;
            // Four inputs at a time; those that are only padding have no gradient.
            for input in (0..inputs).step_by(4) {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = Source { at: from.at.add(tap + input), ..from };
                    let upper = Source { at: upper.at.add(block * LANES), ..upper };
                    let row = (index * inputs.next_multiple_of(LANES) + input) * outputs;
                    let to = gradient.add(row + block * LANES);
                    if pair {
                        outer_products::<S, 4, 2>(from, upper, to, outputs, extent);
                    } else if input % 8 == 0 && input + 4 < inputs {
                        outer_products::<S, 8, 1>(from, upper, to, outputs, extent);
                    } else if input % 8 == 0 {
                        outer_products::<S, 4, 1>(from, upper, to, outputs, extent);
                    }
                }
            }
            block += if pair { 2 } else { 1 };
        }
    }
}

/// `I` inputs by `B` vectors of outputs, summed over the pixels.
#[inline(always)]
unsafe fn outer_products<S: Simd, const I: usize, const B: usize>(
    from: Source,
    upper: Source,
    to: *mut f32,
    outputs: usize,
    extent: Extent,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::splat(0.0); B]; I];
        for y in 0..extent.height {
            let (mut from_at, mut upper_at) = (from.pixel(y, 0), upper.pixel(y, 0));
            for _ in 0..extent.width {
                let mut factors = [S::splat(0.0); B];
                for (j, factor) in factors.iter_mut().enumerate() {
                    *factor = S::load(upper_at.add(j * LANES));
                }
                for (input, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*from_at.add(input));
                    for (sum, &factor) in sums.iter_mut().zip(&factors) {
                        *sum = S::mul_add(x, factor, *sum);
                    }
                }
                from_at = from_at.wrapping_add(from.pixel);
                upper_at = upper_at.wrapping_add(upper.pixel);
            }
        }
        for (input, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let at = to.add(input * outputs + j * LANES);
                S::store(at, S::add(S::load(at), sum));
            }
        }
    }
}
