//! Convolution that mixes channels, pointwise included, as a matrix product without unfolding.

use super::{Extent, Source, Target, for_runs};
use crate::instructions::{LANES, Lanes, Simd, kernel};

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
            // As many pixels by two vectors as leave registers for the factors, and so many such
            // runs that what is left is runs of four.
            let most = if S::WIDE { 12 } else { 6 };
            let fits = |runs: &usize| (extent.width - most * runs).is_multiple_of(4);
            let runs = (0..=extent.width / most).rev().find(fits).unwrap_or(0);
            let runs = if pair { runs } else { 0 };
            for x in (0..runs).map(|run| run * most) {
                // SAFETY: the caller's promise; the pixels lie in the extent.
                unsafe {
                    if S::WIDE {
                        run(x).products::<S::Pair, 12>(taps);
                    } else {
                        run(x).products::<S::Pair, 6>(taps);
                    }
                }
            }
            for_runs!(extent.width - most * runs, [8, 4, 1], |x, N| {
                // SAFETY: the caller's promise; N pixels from (y, x) on lie in the extent.
                unsafe {
                    let x = most * runs + x;
                    match (pair, N) {
                        (false, _) => run(x).products::<S::V, N>(taps),
                        (true, 8) if !S::WIDE => {
                            run(x).products::<S::Pair, 4>(taps);
                            run(x + 4).products::<S::Pair, 4>(taps);
                        }
                        (true, _) => run(x).products::<S::Pair, N>(taps),
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
    /// The outputs of `L`, one vector or two, of `N` pixels.
    #[inline(always)]
    unsafe fn products<L: Lanes, const N: usize>(&self, taps: &[usize]) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [L::splat(0.0); N];
            self.each::<N>(taps, |rows, input, weight| {
                let factor = L::load(weight);
                for (row, sum) in rows.iter().zip(&mut sums) {
                    *sum = L::mul_add(L::splat(*row.add(input)), factor, *sum);
                }
            });
            for (pixel, &sum) in sums.iter().enumerate() {
                L::store(self.to.add(pixel * self.to_step), sum);
            }
        }
    }

    /// Calls `f` with a tap of `N` pixels, an input, and that input's weights, for all of them.
    #[inline(always)]
    unsafe fn each<const N: usize>(
        &self,
        taps: &[usize],
        mut f: impl FnMut(&[*const f32; N], usize, *const f32),
    ) {
        let tap_weights = self.inputs.next_multiple_of(LANES) * self.outputs;
        for (index, &tap) in taps.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let mut weight = self.weights.add(index * tap_weights);
                // A pointer a pixel: with a step that the compiler does not know, anything else
                // costs an addition a product.
                let mut rows = [self.from; N];
                for (pixel, row) in rows.iter_mut().enumerate() {
                    *row = self.from.add(tap + pixel * self.step);
                }
                for input in 0..self.inputs {
                    f(&rows, input, weight);
                    weight = weight.wrapping_add(self.outputs);
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
            let mut input = 0;
            while input < inputs {
                // Those that are only padding have no gradient.
                let most = if inputs - input > 4 && (S::WIDE || !pair) { 8 } else { 4 };
                // SAFETY: the caller's promise.
                unsafe {
                    let from = Source { at: from.at.add(tap + input), ..from };
                    let upper = Source { at: upper.at.add(block * LANES), ..upper };
                    let row = (index * inputs.next_multiple_of(LANES) + input) * outputs;
                    let to = gradient.add(row + block * LANES);
                    match (pair, most) {
                        (true, 8) => outer_products::<S::Pair, 8>(from, upper, to, outputs, extent),
                        (true, _) => outer_products::<S::Pair, 4>(from, upper, to, outputs, extent),
                        (false, 8) => outer_products::<S::V, 8>(from, upper, to, outputs, extent),
                        (false, _) => outer_products::<S::V, 4>(from, upper, to, outputs, extent),
                    }
                }
                input += most;
            }
            block += if pair { 2 } else { 1 };
        }
    }
}

/// `I` inputs by the outputs of `L`, one vector or two, summed over the pixels.
#[inline(always)]
unsafe fn outer_products<L: Lanes, const I: usize>(
    from: Source,
    upper: Source,
    to: *mut f32,
    outputs: usize,
    extent: Extent,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [L::splat(0.0); I];
        for y in 0..extent.height {
            let (mut from_at, mut upper_at) = (from.pixel(y, 0), upper.pixel(y, 0));
            for _ in 0..extent.width {
                let factor = L::load(upper_at);
                for (input, sum) in sums.iter_mut().enumerate() {
                    *sum = L::mul_add(L::splat(*from_at.add(input)), factor, *sum);
                }
                from_at = from_at.wrapping_add(from.pixel);
                upper_at = upper_at.wrapping_add(upper.pixel);
            }
        }
        for (input, &sum) in sums.iter().enumerate() {
            let at = to.add(input * outputs);
            L::store(at, L::add(L::load(at), sum));
        }
    }
}
