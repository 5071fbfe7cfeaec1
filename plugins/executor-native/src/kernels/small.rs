//! Kernels that take little of a network's time: layout of images, scaling, global mean, linear.

use super::{Extent, Source, Target};
use crate::instructions::{LANES, Lanes, Simd, Vector, kernel};

kernel! {
    /// Writes an image, [channels, height, width], with its channels last; padded channels get 0.
    images(from: &[f32], channels: usize, to: Target, extent: Extent) = images_body
}

#[inline(always)]
unsafe fn images_body<S: Simd>(from: &[f32], channels: usize, to: Target, extent: Extent) {
    let pixels = extent.height * extent.width;
    for y in 0..extent.height {
        for x in 0..extent.width {
            for channel in 0..extent.blocks * LANES {
                let value = if channel < channels {
                    from[channel * pixels + y * extent.width + x]
                } else {
                    0.0
                };
                // SAFETY: the caller's promise.
                unsafe { *to.pixel(y, x).add(channel) = value };
            }
        }
    }
}

kernel! {
    /// Writes `value` to all pixels outside of the rectangle `inside` ([top, left, height, width]).
    fill(to: Target, extent: Extent, inside: Option<[usize; 4]>, value: f32) = fill_body
}

#[inline(always)]
unsafe fn fill_body<S: Simd>(to: Target, extent: Extent, inside: Option<[usize; 4]>, value: f32) {
    let extent = if inside.is_none() { extent.flat([(to.row, to.pixel)]) } else { extent };
    let [top, left, height, width] = inside.unwrap_or([extent.height, 0, 0, 0]);
    let run = |y: usize, from: usize, to_column: usize| {
        for x in from..to_column {
            for block in 0..extent.blocks {
                // SAFETY: the caller's promise.
                unsafe { S::V::store(to.pixel(y, x).add(block * LANES), S::V::splat(value)) };
            }
        }
    };
    for y in 0..extent.height {
        if (top..top + height).contains(&y) {
            run(y, 0, left);
            run(y, left + width, extent.width);
        } else {
            run(y, 0, extent.width);
        }
    }
}

kernel! {
    /// Multiplies each pixel by its own factor, [height, width].
    scale(at: Target, factors: &[f32], extent: Extent) = scale_body
}

#[inline(always)]
unsafe fn scale_body<S: Simd>(at: Target, factors: &[f32], extent: Extent) {
    for (index, &factor) in factors.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let pixel = at.pixel(index / extent.width, index % extent.width);
            for block in 0..extent.blocks {
                let at = pixel.add(block * LANES);
                S::V::store(at, S::V::mul(S::V::load(at), S::V::splat(factor)));
            }
        }
    }
}

kernel! {
    /// Writes the mean over the pixels.
    global_mean(from: Source, to: *mut f32, extent: Extent) = global_mean_body
}

#[inline(always)]
unsafe fn global_mean_body<S: Simd>(from: Source, to: *mut f32, extent: Extent) {
    let share = 1.0 / (extent.height * extent.width) as f32;
    for first in (0..extent.blocks * LANES).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = S::V::splat(0.0);
            for y in 0..extent.height {
                // Row by row, so that many pixels lose no digits.
                let mut row = S::V::splat(0.0);
                for x in 0..extent.width {
                    row = S::V::add(row, S::V::load(from.pixel(y, x).add(first)));
                }
                sum = S::V::add(sum, row);
            }
            S::V::store(to.add(first), S::V::mul(sum, S::V::splat(share)));
        }
    }
}

kernel! {
    /// Writes weights, [outputs, length], times `from`, [length], plus `bias`, to `to`.
    /// `length` is a multiple of the lanes; without a bias `bias` is empty.
    linear(from: *const f32, length: usize, weights: *const f32, bias: &[f32], to: &mut [f32])
        = linear_body
}

#[inline(always)]
unsafe fn linear_body<S: Simd>(
    from: *const f32,
    length: usize,
    weights: *const f32,
    bias: &[f32],
    to: &mut [f32],
) {
    for (output, to) in to.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let row = weights.add(output * length);
            let mut sum = S::V::splat(0.0);
            for at in (0..length).step_by(LANES) {
                sum = S::V::mul_add(S::V::load(row.add(at)), S::V::load(from.add(at)), sum);
            }
            let mut lanes = [0.0; LANES];
            S::V::store(lanes.as_mut_ptr(), sum);
            *to = lanes.iter().sum::<f32>() + bias.get(output).copied().unwrap_or(0.0);
        }
    }
}

kernel! {
    /// Adds to `gradient`, [outputs, length], the product of `upper`, the gradient of the result,
    /// and `from`, [length].
    linear_gradient(from: *const f32, length: usize, upper: &[f32], gradient: *mut f32)
        = linear_gradient_body
}

#[inline(always)]
unsafe fn linear_gradient_body<S: Simd>(
    from: *const f32,
    length: usize,
    upper: &[f32],
    gradient: *mut f32,
) {
    for (output, &upper) in upper.iter().enumerate() {
        for at in (0..length).step_by(LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let to = gradient.add(output * length + at);
                let product =
                    S::V::mul_add(S::V::splat(upper), S::V::load(from.add(at)), S::V::load(to));
                S::V::store(to, product);
            }
        }
    }
}

kernel! {
    /// Writes `upper` times the weights, [outputs, length], to `to`, [length].
    linear_back(upper: &[f32], length: usize, weights: *const f32, to: *mut f32) = linear_back_body
}

#[inline(always)]
unsafe fn linear_back_body<S: Simd>(
    upper: &[f32],
    length: usize,
    weights: *const f32,
    to: *mut f32,
) {
    for at in (0..length).step_by(LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = S::V::splat(0.0);
            for (output, &upper) in upper.iter().enumerate() {
                let weight = S::V::load(weights.add(output * length + at));
                sum = S::V::mul_add(S::V::splat(upper), weight, sum);
            }
            S::V::store(to.add(at), sum);
        }
    }
}
