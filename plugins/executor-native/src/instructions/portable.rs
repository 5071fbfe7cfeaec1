//! What every processor of the target has.

use super::{LANES, Simd};

/// What every processor of the target has.
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];
    type Pair = [Self::V; 2];

    #[inline(always)]
    unsafe fn load_pair(from: *const f32) -> Self::Pair {
        // SAFETY: the caller promises sixteen values.
        unsafe { [Self::load(from), Self::load(from.add(LANES))] }
    }

    #[inline(always)]
    unsafe fn store_pair(to: *mut f32, [low, high]: Self::Pair) {
        // SAFETY: the caller promises room for sixteen values.
        unsafe {
            Self::store(to, low);
            Self::store(to.add(LANES), high);
        }
    }

    #[inline(always)]
    unsafe fn splat_pair(value: f32) -> Self::Pair {
        // SAFETY: the caller's promise.
        unsafe { [Self::splat(value); 2] }
    }

    #[inline(always)]
    unsafe fn add_pair(a: Self::Pair, b: Self::Pair) -> Self::Pair {
        // SAFETY: the caller's promise.
        unsafe { [Self::add(a[0], b[0]), Self::add(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul_add_pair(a: Self::Pair, b: Self::Pair, c: Self::Pair) -> Self::Pair {
        // SAFETY: the caller's promise.
        unsafe { [Self::mul_add(a[0], b[0], c[0]), Self::mul_add(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller promises eight values.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: the caller promises room for eight values.
        unsafe { to.cast::<[f32; LANES]>().write(value) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not f32::mul_add: without the instruction that is a call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn where_positive(mask: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if mask[i] > 0.0 { value[i] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn where_equal(a: Self::V, b: Self::V, value: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] == b[i] { value[i] } else { 0.0 })
    }
}
