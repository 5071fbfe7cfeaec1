//! The sums over an image that batch norm needs, forward and backward, merged in f64.

use super::{Extent, Source};
use crate::instructions::{LANES, Lanes, Simd, Vector, kernel};

kernel! {
    /// Merges the pixels of `from` into `sums`: [mean, sum of squared distances from it] by
    /// channel, over `seen` pixels so far (Chan, Golub, LeVeque 1983).
    moments(from: Source, extent: Extent, seen: usize, sums: *mut f64) = moments_body
}

#[inline(always)]
unsafe fn moments_body<S: Simd>(from: Source, extent: Extent, seen: usize, sums: *mut f64) {
    let channels = extent.blocks * LANES;
    let flat = extent.flat([(from.row, from.pixel)]);
    let added = (extent.height * extent.width) as f64;
    let total = seen as f64 + added;
    for first in (0..channels).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let from = Source { at: from.at.add(first), ..from };
            let sum = accumulate::<S>(from, flat, |sum, x| S::V::add(sum, x));
            let means = S::V::mul(sum, S::V::splat(1.0 / added as f32));
            let squares = accumulate::<S>(from, flat, |sum, x| {
                let distance = S::V::sub(x, means);
                S::V::mul_add(distance, distance, sum)
            });
            let (mut mean, mut square) = ([0.0; LANES], [0.0; LANES]);
            S::V::store(mean.as_mut_ptr(), means);
            S::V::store(square.as_mut_ptr(), squares);
            for lane in 0..LANES {
                let (so_far, spread) =
                    (&mut *sums.add(first + lane), &mut *sums.add(channels + first + lane));
                let apart = f64::from(mean[lane]) - *so_far;
                *so_far += apart * (added / total);
                *spread += f64::from(square[lane]) + apart * apart * (seen as f64 * added / total);
            }
        }
    }
}

/// Folds one vector of channels over the pixels, in four interleaved sums.
#[inline(always)]
unsafe fn accumulate<S: Simd>(
    from: Source,
    extent: Extent,
    fold: impl Fn(S::V, S::V) -> S::V,
) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [S::V::splat(0.0); 4];
        for y in 0..extent.height {
            let mut at = from.pixel(y, 0);
            for _ in 0..extent.width / 4 {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = fold(*sum, S::V::load(at.add(j * from.pixel)));
                }
                at = at.wrapping_add(4 * from.pixel);
            }
            for (j, sum) in sums.iter_mut().enumerate().take(extent.width % 4) {
                *sum = fold(*sum, S::V::load(at.add(j * from.pixel)));
            }
        }
        S::V::add(S::V::add(sums[0], sums[1]), S::V::add(sums[2], sums[3]))
    }
}

kernel! {
    /// Adds to `sums`: [sum of `upper`, sum of `upper` times the normalised value] by channel.
    /// The normalised value is (x - mean) * inverse, from `normal`: [mean, inverse].
    gradient_moments(upper: Source, x: Source, normal: *const f32, extent: Extent, sums: *mut f64)
        = gradient_moments_body
}

#[inline(always)]
unsafe fn gradient_moments_body<S: Simd>(
    upper: Source,
    x: Source,
    normal: *const f32,
    extent: Extent,
    sums: *mut f64,
) {
    let channels = extent.blocks * LANES;
    let extent = extent.flat([(upper.row, upper.pixel), (x.row, x.pixel)]);
    for first in (0..channels).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let mean = S::V::load(normal.add(first));
            let mut plain = [S::V::splat(0.0); 4];
            let mut products = [S::V::splat(0.0); 4];
            for y in 0..extent.height {
                let (mut upper_at, mut x_at) =
                    (upper.pixel(y, 0).add(first), x.pixel(y, 0).add(first));
                let mut left = extent.width;
                while left > 0 {
                    let run = left.min(4);
                    for j in 0..run {
                        let gradient = S::V::load(upper_at);
                        let distance = S::V::sub(S::V::load(x_at), mean);
                        plain[j] = S::V::add(plain[j], gradient);
                        products[j] = S::V::mul_add(gradient, distance, products[j]);
                        upper_at = upper_at.wrapping_add(upper.pixel);
                        x_at = x_at.wrapping_add(x.pixel);
                    }
                    left -= run;
                }
            }
            let fold = |sums: [S::V; 4]| {
                S::V::add(S::V::add(sums[0], sums[1]), S::V::add(sums[2], sums[3]))
            };
            let inverse = S::V::load(normal.add(channels + first));
            let (mut sum, mut product) = ([0.0; LANES], [0.0; LANES]);
            S::V::store(sum.as_mut_ptr(), fold(plain));
            S::V::store(product.as_mut_ptr(), S::V::mul(inverse, fold(products)));
            for lane in 0..LANES {
                *sums.add(first + lane) += f64::from(sum[lane]);
                *sums.add(channels + first + lane) += f64::from(product[lane]);
            }
        }
    }
}
