//! The vector instructions that kernels are compiled for, chosen once when an executor is made.
//!
//! A kernel is written once over [`Simd`]; [`kernel!`] compiles it for each instruction set.
//! Vectors have eight lanes in all of them, so that layouts do not depend on the machine.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// Lanes of a vector; channels are padded to a multiple of it.
pub(crate) const LANES: usize = 8;

/// Which instructions the kernels may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instructions {
    /// AVX2 where the processor has it, otherwise what every processor has.
    #[default]
    Auto,
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors where channels mix, otherwise 256-bit ones with twice the registers. Not
    /// what `Auto` chooses: no processor that has them has run these kernels yet.
    Avx512,
}

impl Instructions {
    /// What `self` stands for on this processor: never `Auto`.
    ///
    /// # Errors
    /// In words, where the processor does not have the instructions asked for.
    pub(crate) fn resolve(self) -> Result<Self, String> {
        #[cfg(target_arch = "x86_64")]
        let (avx2, avx512) = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let vl = is_x86_feature_detected!("avx512vl");
            (avx2, avx2 && vl && is_x86_feature_detected!("avx512f"))
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (avx2, avx512) = (false, false);
        let lacks =
            |what: &str| Err(format!("instructions: this processor has no {what}, use \"auto\""));
        match self {
            Self::Auto if avx2 => Ok(Self::Avx2),
            Self::Auto => Ok(Self::Portable),
            Self::Avx2 if !avx2 => lacks("avx2 with fma"),
            Self::Avx512 if !avx512 => lacks("avx512f with avx512vl"),
            known => Ok(known),
        }
    }
}

/// Eight-lane vectors, and pairs of them.
///
/// # Safety
/// The processor has the instructions of the implementor; pointers are valid for eight f32, of a
/// pair for sixteen.
pub(crate) trait Simd {
    /// Whether a pair is one register, of which there are 32; otherwise two of 16.
    const WIDE: bool = false;
    /// Eight f32.
    type V: Copy;
    /// Sixteen f32.
    type Pair: Copy;
    unsafe fn load_pair(from: *const f32) -> Self::Pair;
    unsafe fn store_pair(to: *mut f32, value: Self::Pair);
    unsafe fn splat_pair(value: f32) -> Self::Pair;
    unsafe fn add_pair(a: Self::Pair, b: Self::Pair) -> Self::Pair;
    /// a * b + c in every lane, fused where the instructions have it.
    unsafe fn mul_add_pair(a: Self::Pair, b: Self::Pair, c: Self::Pair) -> Self::Pair;
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
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
            unsafe fn avx512($($argument: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<$crate::instructions::Avx512>($($argument),*) }
            }
            match instructions {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instructions were found when they were resolved.
                $crate::instructions::Instructions::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::instructions::Instructions::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: the caller's promise.
                _ => unsafe { $body::<$crate::instructions::Portable>($($argument),*) },
            }
        }
    };
}
pub(crate) use kernel;
