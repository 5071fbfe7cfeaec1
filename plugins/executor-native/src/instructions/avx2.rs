//! AVX2 with fused multiply-add.

use std::arch::x86_64::*;

use super::{LANES, Lanes, Simd, Vector};

/// 256-bit vectors with fused multiply-add.
pub(crate) struct Avx2;

impl Simd for Avx2 {
    const WIDE: bool = false;
    type V = __m256;
    type Pair = [__m256; 2];
}

// Every function here runs in a kernel compiled for avx2 and fma, which `kernel!` calls only
// after `Instructions::resolve` found them.
impl Lanes for __m256 {
    const COUNT: usize = LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller promises eight values.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the caller promises room for eight values.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
}

impl Vector for __m256 {
    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: the processor has the instruction, which takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instruction.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max_or_nan(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the processor has the instructions.
        unsafe {
            // The maximum is b where a is not a number; all bits set is not a number either.
            let lost = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_or_ps(_mm256_max_ps(a, b), lost)
        }
    }

    #[inline(always)]
    unsafe fn where_positive(mask: __m256, value: __m256) -> __m256 {
        // SAFETY: the processor has the instructions.
        unsafe {
            let keep = _mm256_cmp_ps::<_CMP_GT_OQ>(mask, _mm256_setzero_ps());
            _mm256_and_ps(keep, value)
        }
    }

    #[inline(always)]
    unsafe fn where_equal(a: __m256, b: __m256, value: __m256) -> __m256 {
        // SAFETY: the processor has the instructions.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), value) }
    }
}
