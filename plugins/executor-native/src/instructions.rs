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
    /// The widest that the processor has.
    #[default]
    Auto,
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors where channels mix, otherwise 256-bit ones with twice the registers.
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
            Self::Auto if avx512 => Ok(Self::Avx512),
            Self::Auto if avx2 => Ok(Self::Avx2),
            Self::Auto => Ok(Self::Portable),
            Self::Avx2 if !avx2 => lacks("avx2 with fma"),
            Self::Avx512 if !avx512 => lacks("avx512f with avx512vl"),
            known => Ok(known),
        }
    }
}

/// Lanes of f32 that a kernel handles at once: a vector, or a pair of them.
///
/// # Safety
/// The processor has the instructions of the implementor; pointers are valid for all lanes.
pub(crate) trait Lanes: Copy {
    /// How many.
    const COUNT: usize;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(to: *mut f32, value: Self);
    unsafe fn splat(value: f32) -> Self;
    unsafe fn add(a: Self, b: Self) -> Self;
    /// a * b + c in every lane, fused where the instructions have it.
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self;
}

impl<L: Lanes> Lanes for [L; 2] {
    const COUNT: usize = 2 * L::COUNT;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises the lanes of both.
        unsafe { [L::load(from), L::load(from.add(L::COUNT))] }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, [low, high]: Self) {
        // SAFETY: the caller promises room for the lanes of both.
        unsafe {
            L::store(to, low);
            L::store(to.add(L::COUNT), high);
        }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { [L::splat(value); 2] }
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { [L::add(a[0], b[0]), L::add(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { [L::mul_add(a[0], b[0], c[0]), L::mul_add(a[1], b[1], c[1])] }
    }
}

/// What else kernels do with a single vector of [`LANES`].
///
/// # Safety
/// As [`Lanes`].
pub(crate) trait Vector: Lanes {
    /// Has the cache line at an address, which need not be valid, brought near.
    unsafe fn prefetch(from: *const f32);
    unsafe fn sub(a: Self, b: Self) -> Self;
    unsafe fn mul(a: Self, b: Self) -> Self;
    /// The greater; `b` where one of them is not a number.
    unsafe fn max(a: Self, b: Self) -> Self;
    /// The greater; not a number where one of them is not.
    unsafe fn max_or_nan(a: Self, b: Self) -> Self;
    /// `value` where `mask` is positive, otherwise zero.
    unsafe fn where_positive(mask: Self, value: Self) -> Self;
    /// `value` where `a` equals `b`, otherwise zero.
    unsafe fn where_equal(a: Self, b: Self, value: Self) -> Self;
}

/// An instruction set.
pub(crate) trait Simd {
    /// Whether a pair is one register, of which there are 32; otherwise two of 16.
    const WIDE: bool;
    /// Eight f32.
    type V: Vector;
    /// Sixteen f32.
    type Pair: Lanes;
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
