//! Runs a kernel with the vector instructions that the processor has.
//!
//! A kernel is written once, as plain loops that the compiler vectorises. Which instructions it
//! gets is a function of the processor alone, never of the number of threads.

/// A computation whose loops are worth vectorising.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Computes. Must be `#[inline(always)]`, as must be what it calls: only then is it compiled
    /// for the instructions at hand. `FMA` says that a fused multiply-add is one instruction.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs `kernel` with AVX-512, or AVX2 and FMA, where there are any.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
    {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<true>()
        }
        // SAFETY: the processor has all of these, as was just asked.
        return unsafe { with_avx512(kernel) };
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<true>()
        }
        // SAFETY: the processor has AVX2 and FMA, as was just asked.
        return unsafe { with_avx2(kernel) };
    }
    kernel.run::<false>()
}

/// A floating-point type that kernels compute with.
pub(crate) trait Real: dfdx::dtypes::Dtype {
    /// self * factor + summand, rounded once where `FMA`.
    fn multiply_add<const FMA: bool>(self, factor: Self, summand: Self) -> Self;

    /// 1 / (1 + exp(-self)).
    fn logistic(self) -> Self;

    /// The hyperbolic tangent.
    fn hyperbolic_tangent(self) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn multiply_add<const FMA: bool>(self, factor: Self, summand: Self) -> Self {
        if FMA { self.mul_add(factor, summand) } else { self * factor + summand }
    }

    #[inline(always)]
    fn logistic(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        self.tanh()
    }
}

/// In single precision both sigmoids are made from an exponential that vectorises, to an absolute
/// error of 2e-7.
impl Real for f32 {
    #[inline(always)]
    fn multiply_add<const FMA: bool>(self, factor: Self, summand: Self) -> Self {
        if FMA { self.mul_add(factor, summand) } else { self * factor + summand }
    }

    #[inline(always)]
    fn logistic(self) -> Self {
        1.0 / (1.0 + exponential(-self))
    }

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        1.0 - 2.0 / (1.0 + exponential(2.0 * self))
    }
}

/// exp(x) for x clamped to -87..87, to a relative error of 2e-7; NaN for NaN.
///
/// x = n ln 2 + r; a polynomial for exp(r) by Cephes (S. L. Moshier, expf), and 2^n by its bits.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    /// 1.5 * 2^23: a sum with it has its integer part in the low bits.
    const ROUNDING: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    // ln 2 in two parts, the first with few enough bits for an exact product.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * r + coefficient;
    }
    let mantissa = sum * (r * r) + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    mantissa * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoids_agree_with_double_precision() {
        for step in -4000..=4000 {
            let x = step as f32 / 100.0;
            let wide = f64::from(x);
            let error = (f64::from(x.logistic()) - wide.logistic()).abs();
            assert!(error < 2e-7, "logistic({x}) is off by {error}");
            let error = (f64::from(x.hyperbolic_tangent()) - wide.hyperbolic_tangent()).abs();
            assert!(error < 2e-7, "tanh({x}) is off by {error}");
        }
    }

    #[test]
    fn sigmoids_saturate_and_keep_nan() {
        assert_eq!((1e30f32.logistic(), 1e30f32.hyperbolic_tangent()), (1.0, 1.0));
        assert!((-1e30f32).logistic() < 1e-30);
        assert_eq!(f32::NEG_INFINITY.hyperbolic_tangent(), -1.0);
        assert!(f32::NAN.logistic().is_nan() && f32::NAN.hyperbolic_tangent().is_nan());
    }
}
