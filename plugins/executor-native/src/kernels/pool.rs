//! Max pooling, and sums over windows for average pooling.
//!
//! Windows of three that move by one pixel, which is what cells have, go along a row with the
//! maxima (sums) of columns in registers, and take a gradient apart by rows first, then by columns.
//! Other windows are walked tap by tap.

use super::{Extent, Source, Target, for_runs};
use crate::instructions::{LANES, Lanes, Simd, Vector, kernel};

/// A square window: its side, and floats from row to row and from pixel to pixel of its taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Square {
    pub(crate) size: usize,
    pub(crate) row: usize,
    pub(crate) pixel: usize,
}

impl Square {
    /// Whether neighbouring windows of `from` share all columns but one.
    pub(crate) fn slides(&self, row: usize, pixel: usize) -> bool {
        self.size == 3 && (self.row, self.pixel) == (row, pixel)
    }

    /// Floats from the first tap to each, row-major.
    #[inline(always)]
    fn taps(self) -> impl Iterator<Item = usize> {
        let Self { size, row, pixel } = self;
        (0..size * size).map(move |tap| tap / size * row + tap % size * pixel)
    }
}

kernel! {
    /// Writes the greatest of `from` over the window. Padding in `from` is minus infinity. What is
    /// not a number is greater than all else.
    max_pool(from: Source, window: Square, to: Target, extent: Extent) = max_pool_body
}

#[inline(always)]
unsafe fn max_pool_body<S: Simd>(from: Source, window: Square, to: Target, extent: Extent) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, true>(from, window, to, &[], extent) }
}

kernel! {
    /// Writes the sum of `from` over the window, times the pixel's own factor, [height, width],
    /// where there are `factors`. Padding in `from` is zeros.
    window_sum(from: Source, window: Square, to: Target, factors: &[f32], extent: Extent)
        = window_sum_body
}

#[inline(always)]
unsafe fn window_sum_body<S: Simd>(
    from: Source,
    window: Square,
    to: Target,
    factors: &[f32],
    extent: Extent,
) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, false>(from, window, to, factors, extent) }
}

#[inline(always)]
unsafe fn windows<S: Simd, const MAX: bool>(
    from: Source,
    window: Square,
    to: Target,
    factors: &[f32],
    extent: Extent,
) {
    for y in 0..extent.height {
        let factors = factors.get(y * extent.width..(y + 1) * extent.width).unwrap_or_default();
        for first in (0..extent.blocks * LANES).step_by(LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let (from_at, to_at) = (from.pixel(y, 0).add(first), to.pixel(y, 0).add(first));
                if window.slides(from.row, from.pixel) {
                    slide::<S, MAX>(from_at, window, to_at, to.pixel, factors, extent.width);
                } else {
                    let from = Source { at: from_at, ..from };
                    walk::<S, MAX>(from, window, to_at, to.pixel, factors, extent.width);
                }
            }
        }
    }
}

/// The greater, or the sum.
#[inline(always)]
unsafe fn join<S: Simd, const MAX: bool>(a: S::V, b: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { if MAX { S::V::max_or_nan(a, b) } else { S::V::add(a, b) } }
}

/// One row of windows that share columns.
#[inline(always)]
unsafe fn slide<S: Simd, const MAX: bool>(
    from: *const f32,
    window: Square,
    to: *mut f32,
    to_step: usize,
    factors: &[f32],
    width: usize,
) {
    // SAFETY: the caller's promise: the row has `width` and two more columns.
    unsafe {
        let column = |x: usize| {
            let at = from.add(x * window.pixel);
            let upper = join::<S, MAX>(S::V::load(at), S::V::load(at.add(window.row)));
            join::<S, MAX>(upper, S::V::load(at.add(2 * window.row)))
        };
        let (mut left, mut middle) = (column(0), column(1));
        for x in 0..width {
            let right = column(x + 2);
            let mut result = join::<S, MAX>(join::<S, MAX>(left, middle), right);
            if let Some(&factor) = factors.get(x) {
                result = S::V::mul(result, S::V::splat(factor));
            }
            S::V::store(to.add(x * to_step), result);
            (left, middle) = (middle, right);
        }
    }
}

/// One row of windows, tap by tap.
#[inline(always)]
unsafe fn walk<S: Simd, const MAX: bool>(
    from: Source,
    window: Square,
    to: *mut f32,
    to_step: usize,
    factors: &[f32],
    width: usize,
) {
    for_runs!(width, [8, 4, 2, 1], |x, N| {
        // SAFETY: the caller's promise; N pixels from x on lie in the extent.
        unsafe {
            let mut results = [S::V::splat(if MAX { f32::NEG_INFINITY } else { 0.0 }); N];
            for tap in window.taps() {
                let at = from.pixel(0, x).add(tap);
                for (j, result) in results.iter_mut().enumerate() {
                    *result = join::<S, MAX>(*result, S::V::load(at.add(j * from.pixel)));
                }
            }
            for (j, &result) in results.iter().enumerate() {
                let factor = factors.get(x + j).copied().unwrap_or(1.0);
                S::V::store(to.add((x + j) * to_step), S::V::mul(result, S::V::splat(factor)));
            }
        }
    });
}

kernel! {
    /// Adds each gradient of `upper` to `gradient` at the tap where `from` is greatest, of equal
    /// ones the first. `gradient` steps as `from` does.
    max_pool_gradient(
        from: Source,
        window: Square,
        upper: Source,
        gradient: *mut f32,
        extent: Extent,
    ) = max_pool_gradient_body
}

#[inline(always)]
unsafe fn max_pool_gradient_body<S: Simd>(
    from: Source,
    window: Square,
    upper: Source,
    gradient: *mut f32,
    extent: Extent,
) {
    let gradient = Target { at: gradient, row: from.row, pixel: from.pixel };
    for y in 0..extent.height {
        for first in (0..extent.blocks * LANES).step_by(LANES) {
            for x in 0..extent.width {
                // SAFETY: the caller's promise.
                unsafe {
                    let from_at = from.pixel(y, x).add(first);
                    let gradient_at = gradient.pixel(y, x).add(first);
                    let mut greatest = S::V::splat(f32::NEG_INFINITY);
                    for tap in window.taps() {
                        greatest = S::V::max(S::V::load(from_at.add(tap)), greatest);
                    }
                    let mut left = S::V::load(upper.pixel(y, x).add(first));
                    for tap in window.taps() {
                        let taken = S::V::where_equal(S::V::load(from_at.add(tap)), greatest, left);
                        let at = gradient_at.add(tap);
                        S::V::store(at, S::V::add(S::V::load(at), taken));
                        left = S::V::sub(left, taken);
                    }
                }
            }
        }
    }
}

/// Vectors of scratch that [`max_pool_gradient_sliding`] needs for each column of the result.
pub(crate) const SLIDING_ROWS: usize = 6;

kernel! {
    /// As [`max_pool_gradient`] for windows that slide, but writes every pixel of `gradient`, as
    /// many as of `from`: two rows and columns more than the result, whose extent `extent` is.
    /// `rows` is scratch of [`SLIDING_ROWS`] vectors a column of the result.
    max_pool_gradient_sliding(
        from: Source,
        upper: Source,
        gradient: Target,
        rows: *mut f32,
        extent: Extent,
    ) = sliding_gradient_body
}

#[inline(always)]
unsafe fn sliding_gradient_body<S: Simd>(
    from: Source,
    upper: Source,
    gradient: Target,
    rows: *mut f32,
    extent: Extent,
) {
    let width = extent.width;
    for first in (0..extent.blocks * LANES).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            // Of three neighbouring rows: the greatest of three columns, and the gradient that
            // the windows so far give to it.
            let maxima = |row: usize| rows.add(row % 3 * width * LANES);
            let sums = |row: usize| rows.add((3 + row % 3) * width * LANES);
            let row_of = |row: usize| Strip {
                values: from.pixel(row, 0).add(first),
                step: from.pixel,
                gradient: gradient.pixel(row, 0).add(first),
                gradient_step: gradient.pixel,
                maxima: maxima(row),
                sums: sums(row),
                width,
            };
            for row in 0..2 {
                row_of(row).start::<S>();
            }
            for y in 0..extent.height {
                row_of(y + 2).start::<S>();
                let upper_at = upper.pixel(y, 0).add(first);
                for x in 0..width {
                    let at = x * LANES;
                    let [one, two, three] =
                        [0, 1, 2].map(|row| S::V::load(maxima(y + row).add(at)));
                    let greatest = S::V::max(S::V::max(one, two), three);
                    let all = S::V::load(upper_at.add(x * upper.pixel));
                    // The first row that has the greatest value takes all.
                    let to_one = S::V::where_equal(one, greatest, all);
                    let rest = S::V::sub(all, to_one);
                    let to_two = S::V::where_equal(two, greatest, rest);
                    for (row, part) in
                        [to_one, to_two, S::V::sub(rest, to_two)].into_iter().enumerate()
                    {
                        let sum = sums(y + row).add(at);
                        S::V::store(sum, S::V::add(S::V::load(sum), part));
                    }
                }
                row_of(y).finish::<S>();
            }
            for row in extent.height..extent.height + 2 {
                row_of(row).finish::<S>();
            }
        }
    }
}

/// One row of values and their gradient, eight channels.
struct Strip {
    values: *const f32,
    /// Floats from pixel to pixel.
    step: usize,
    gradient: *mut f32,
    gradient_step: usize,
    maxima: *mut f32,
    sums: *mut f32,
    /// Windows in a row.
    width: usize,
}

impl Strip {
    /// Writes the greatest values of three columns, and zeros as sums.
    #[inline(always)]
    unsafe fn start<S: Simd>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = |x: usize| S::V::load(self.values.add(x * self.step));
            let (mut left, mut middle) = (value(0), value(1));
            for x in 0..self.width {
                let right = value(x + 2);
                S::V::store(self.maxima.add(x * LANES), S::V::max(S::V::max(left, middle), right));
                S::V::store(self.sums.add(x * LANES), S::V::splat(0.0));
                (left, middle) = (middle, right);
            }
        }
    }

    /// Gives each sum to the first of its three columns that has the greatest value.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = |x: usize| S::V::load(self.values.add(x * self.step));
            let to = |x: usize| self.gradient.add(x * self.gradient_step);
            let (mut left, mut middle) = (value(0), value(1));
            // What the windows so far give to this column and to the next.
            let (mut own, mut next) = (S::V::splat(0.0), S::V::splat(0.0));
            for x in 0..self.width {
                let right = value(x + 2);
                let greatest = S::V::load(self.maxima.add(x * LANES));
                let all = S::V::load(self.sums.add(x * LANES));
                let to_left = S::V::where_equal(left, greatest, all);
                let rest = S::V::sub(all, to_left);
                let to_middle = S::V::where_equal(middle, greatest, rest);
                S::V::store(to(x), S::V::add(own, to_left));
                own = S::V::add(next, to_middle);
                next = S::V::sub(rest, to_middle);
                (left, middle) = (middle, right);
            }
            S::V::store(to(self.width), own);
            S::V::store(to(self.width + 1), next);
        }
    }
}
