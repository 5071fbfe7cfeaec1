//! Max pooling, and sums over windows for average pooling.

use super::{Extent, Source, Target, for_runs};
use crate::instructions::{LANES, Simd, kernel};

kernel! {
    /// Writes the greatest of `from` over the taps. Padding in `from` is minus infinity.
    max_pool(from: Source, taps: &[usize], to: Target, extent: Extent) = max_pool_body
}

#[inline(always)]
unsafe fn max_pool_body<S: Simd>(from: Source, taps: &[usize], to: Target, extent: Extent) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, true>(from, taps, to, extent) }
}

kernel! {
    /// Writes the sum of `from` over the taps. Padding in `from` is zeros.
    window_sum(from: Source, taps: &[usize], to: Target, extent: Extent) = window_sum_body
}

#[inline(always)]
unsafe fn window_sum_body<S: Simd>(from: Source, taps: &[usize], to: Target, extent: Extent) {
    // SAFETY: the caller's promise.
    unsafe { windows::<S, false>(from, taps, to, extent) }
}

#[inline(always)]
unsafe fn windows<S: Simd, const MAX: bool>(
    from: Source,
    taps: &[usize],
    to: Target,
    extent: Extent,
) {
    for y in 0..extent.height {
        for first in (0..extent.blocks * LANES).step_by(LANES) {
            for_runs!(extent.width, [8, 4, 2, 1], |x, N| {
                // SAFETY: the caller's promise; N pixels from (y, x) on lie in the extent.
                unsafe {
                    let from_at = from.pixel(y, x).add(first);
                    let to_at = to.pixel(y, x).add(first);
                    let mut results = [S::splat(if MAX { f32::NEG_INFINITY } else { 0.0 }); N];
                    for &tap in taps {
                        let at = from_at.add(tap);
                        for (j, result) in results.iter_mut().enumerate() {
                            let x = S::load(at.add(j * from.pixel));
                            *result = if MAX { S::max(x, *result) } else { S::add(x, *result) };
                        }
                    }
                    for (j, &result) in results.iter().enumerate() {
                        S::store(to_at.add(j * to.pixel), result);
                    }
                }
            });
        }
    }
}

kernel! {
    /// Adds each gradient of `upper` to `gradient` at the tap where `from` is greatest, of equal
    /// ones the first. `gradient` steps as `from` does.
    max_pool_gradient(
        from: Source,
        taps: &[usize],
        upper: Source,
        gradient: *mut f32,
        extent: Extent,
    ) = max_pool_gradient_body
}

#[inline(always)]
unsafe fn max_pool_gradient_body<S: Simd>(
    from: Source,
    taps: &[usize],
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
                    let mut greatest = S::splat(f32::NEG_INFINITY);
                    for &tap in taps {
                        greatest = S::max(S::load(from_at.add(tap)), greatest);
                    }
                    let mut left = S::load(upper.pixel(y, x).add(first));
                    for &tap in taps {
                        let taken = S::where_equal(S::load(from_at.add(tap)), greatest, left);
                        let at = gradient_at.add(tap);
                        S::store(at, S::add(S::load(at), taken));
                        left = S::sub(left, taken);
                    }
                }
            }
        }
    }
}
