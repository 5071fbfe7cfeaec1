//! AVX-512 with vectors of all lengths.

use std::arch::x86_64::*;

use super::{Avx2, Simd};

/// 512-bit pairs; single vectors are those of AVX2, with the registers of AVX-512.
pub(crate) struct Avx512;

// Every function here runs in a kernel compiled for avx512f and avx512vl, which `kernel!` calls
// only after `Instructions::resolve` found them.
impl Simd for Avx512 {
    const WIDE: bool = true;
    type V = __m256;
    type Pair = __m512;

    #[inline(always)]
    unsafe fn load_pair(from: *const f32) -> __m512 {
        // SAFETY: the caller promises sixteen values.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_pair(to: *mut f32, value: __m512) {
        // SAFETY: the caller promises room for sixteen values.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn splat_pair(value: f32) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add_pair(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add_pair(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::load(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::store(to, value) }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::prefetch(from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::splat(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::add(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::sub(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::mul(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::mul_add(a, b, c) }
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::max(a, b) }
    }

    #[inline(always)]
    unsafe fn max_or_nan(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::max_or_nan(a, b) }
    }

    #[inline(always)]
    unsafe fn where_positive(mask: __m256, value: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::where_positive(mask, value) }
    }

    #[inline(always)]
    unsafe fn where_equal(a: __m256, b: __m256, value: __m256) -> __m256 {
        // SAFETY: the caller's promise; what has AVX-512 has AVX2.
        unsafe { Avx2::where_equal(a, b, value) }
    }
}
