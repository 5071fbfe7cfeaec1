//! The moving average of a generator's parameters over its training (Polyak and Juditsky, 1992),
//! which makes the weights that are scored; training goes on with the parameters themselves.

use serde::{Deserialize, Serialize};

/// How a moving average follows its parameter: a number from 0 to below 1, the share of the
/// average that is kept in a step. With 0 there is no average, and parameters are scored as they
/// are.
///
/// The first steps keep less, so that a short training is not dominated by initial values: the
/// t-th step, counted from 1, keeps the lesser of the decay and (1 + t) / (10 + t).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Averaging(f64);

impl Averaging {
    /// No average.
    pub const OFF: Self = Self(0.0);

    /// An average with this decay.
    ///
    /// # Errors
    /// In words, where the decay is not from 0 to below 1.
    pub fn new(decay: f64) -> Result<Self, String> {
        match (0.0..1.0).contains(&decay) {
            true => Ok(Self(decay)),
            false => Err(format!("{decay}, expected 0 (no average) to below 1")),
        }
    }

    /// Whether there is an average.
    pub fn is_on(self) -> bool {
        self.0 > 0.0
    }

    /// The share of the difference between parameter and average by which the average moves after
    /// the parameter's `step`-th step, counted from 1.
    pub fn share(self, step: u64) -> f32 {
        let step = step as f64;
        (1.0 - self.0.min((1.0 + step) / (10.0 + step))) as f32
    }
}

impl TryFrom<f64> for Averaging {
    type Error = String;

    fn try_from(decay: f64) -> Result<Self, String> {
        Self::new(decay)
    }
}

impl From<Averaging> for f64 {
    fn from(averaging: Averaging) -> Self {
        averaging.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_steps_keep_less() {
        let averaging = Averaging::new(0.9).unwrap();
        let shares = [1, 10, 79, 80, 81, 10_000].map(|step| averaging.share(step));
        assert_eq!(shares[..2], [9.0 / 11.0, 9.0 / 20.0]);
        assert_eq!(shares[2], (1.0 - 80.0f64 / 89.0) as f32);
        assert!(shares[3..].iter().all(|share| (share - 0.1).abs() < 1e-7), "{shares:?}");
    }

    #[test]
    fn a_decay_out_of_range_is_refused() {
        for decay in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
            let words = Averaging::new(decay).unwrap_err();
            assert!(words.ends_with("expected 0 (no average) to below 1"), "{words}");
        }
        let read: Result<Averaging, _> = serde_json::from_str("1.0");
        assert!(read.unwrap_err().to_string().starts_with("1, expected 0"));
        assert_eq!(serde_json::from_str::<Averaging>("0").unwrap(), Averaging::OFF);
        assert!(!Averaging::OFF.is_on() && Averaging::new(0.5).unwrap().is_on());
    }
}
