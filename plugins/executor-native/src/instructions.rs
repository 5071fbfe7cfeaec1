//! The vector instructions that kernels are compiled for, chosen once when an executor is made.
//!
//! A kernel is written once over [`Simd`]; [`kernel!`] compiles it for each instruction set.
//! Vectors have eight lanes in all of them, so that layouts do not depend on the machine.

use serde::{Deserialize, Serialize};

/// Lanes of a vector; channels are padded to a multiple of it.
pub(crate) const LANES: usize = 8;

/// Which instructions the kernels may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instructions {
    /// The widest that the processor has.
    #[default]
    Auto,
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
}

impl Instructions {
    /// What `self` stands for on this processor: never `Auto`.
    ///
    /// # Errors
    /// In words, where the processor does not have the instructions asked for.
    pub(crate) fn resolve(self) -> Result<Self, String> {
        #[cfg(target_arch = "x86_64")]
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = false;
        match (self, avx2) {
            (Self::Auto | Self::Avx2, true) => Ok(Self::Avx2),
            (Self::Auto | Self::Portable, _) => Ok(Self::Portable),
            (Self::Avx2, false) => {
                Err("instructions: this processor has no avx2 with fma, use \"auto\"".into())
            }
        }
    }
}

/// Eight-lane vectors.
///
/// # Safety
/// The processor has the instructions of the implementor; pointers are valid for eight f32.
pub(crate) trait Simd {
    /// Eight f32.
    type V: Copy;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// Has the cache line at an address, which need not be valid, brought near.
    unsafe fn prefetch(from: *const f32);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c, fused where the instructions have it.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` where one of them is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The greater; not a number where one of them is not.
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V;
    /// `value` where `mask` is positive, otherwise zero.
    unsafe fn where_positive(mask: Self::V, value: Self::V) -> Self::V;
    /// `value` where `a` equals `b`, otherwise zero.
    unsafe fn where_equal(a: Self::V, b: Self::V, value: Self::V) -> Self::V;
}

/// What every processor of the target has.
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];

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

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// 256-bit vectors with fused multiply-add.
    pub(crate) struct Avx2;

    // Every function here runs in a kernel compiled for avx2 and fma, which `kernel!` calls only
    // after `Instructions::resolve` found them.
    impl Simd for Avx2 {
        type V = __m256;

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
        unsafe fn prefetch(from: *const f32) {
            // SAFETY: the processor has the instruction, which takes any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
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
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the processor has the instruction.
            unsafe { _mm256_fmadd_ps(a, b, c) }
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
}

/// Defines a kernel for every instruction set from one body that is generic over [`Simd`].
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `instructions` was resolved, and every pointer and stride stays inside its buffer.
        pub(crate) unsafe fn $name(
            instructions: $crate::instructions::Instructions,
            $($argument: $type),*
        ) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($argument: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<$crate::instructions::Avx2>($($argument),*) }
            }
            match instructions {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instructions were found when they were resolved.
                $crate::instructions::Instructions::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: the caller's promise.
                _ => unsafe { $body::<$crate::instructions::Portable>($($argument),*) },
            }
        }
    };
}
pub(crate) use kernel;
