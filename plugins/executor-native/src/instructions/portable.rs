//! What every processor of the target has.

use super::{LANES, Lanes, Simd, Vector};

/// What every processor of the target has.
pub(crate) struct Portable;

impl Simd for Portable {
    const WIDE: bool = false;
    type V = [f32; LANES];
    type Pair = [Self::V; 2];
}

impl Lanes for [f32; LANES] {
    const COUNT: usize = LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight values.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self) {
        // SAFETY: the caller promises room for eight values.
        unsafe { to.cast::<[f32; LANES]>().write(value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // Not f32::mul_add: without the instruction that is a call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
}

impl Vector for [f32; LANES] {
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn sub(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn max(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn max_or_nan(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| if a[i] > b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn where_positive(mask: Self, value: Self) -> Self {
        std::array::from_fn(|i| if mask[i] > 0.0 { value[i] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn where_equal(a: Self, b: Self, value: Self) -> Self {
        std::array::from_fn(|i| if a[i] == b[i] { value[i] } else { 0.0 })
    }
}
