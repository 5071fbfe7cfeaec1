//! AVX-512 with vectors of all lengths.

use std::arch::x86_64::*;

use super::{LANES, Lanes, Simd};

/// 512-bit pairs; single vectors are those of AVX2, with the registers of AVX-512.
pub(crate) struct Avx512;

impl Simd for Avx512 {
    const WIDE: bool = true;
    type V = __m256;
    type Pair = __m512;
}

// Every function here runs in a kernel compiled for avx512f and avx512vl, which `kernel!` calls
// only after `Instructions::resolve` found them.
impl Lanes for __m512 {
    const COUNT: usize = 2 * LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller promises sixteen values.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: the caller promises room for sixteen values.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}
