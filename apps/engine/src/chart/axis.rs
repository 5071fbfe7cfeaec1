//! An axis: its range, round ticks and where a value stands on it.

/// A linear or logarithmic axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Value and label, ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Share of the range that stays free at either end.
const MARGIN: f64 = 0.04;

impl Axis {
    /// A linear axis for all finite values, with about `ticks` ticks.
    pub(super) fn linear(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (low, high) = range(values.filter(|value| value.is_finite()));
        // All values equal: one unit in their last places would be no picture.
        let span = if high > low { high - low } else { low.abs().max(1.0) / 5.0 };
        let (low, high) = (low - MARGIN * span, high + MARGIN * span);
        let step = round_step((high - low) / ticks as f64);
        let steps = (low / step).ceil() as i64..=(high / step).floor() as i64;
        let ticks = steps.map(|index| {
            let value = index as f64 * step;
            (value, label(value, step))
        });
        Self { low, high, logarithmic: false, ticks: ticks.collect() }
    }

    /// A logarithmic axis for all positive finite values: a tick at each power of ten, and at
    /// its double and fivefold where there are few powers.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = range(positive.map(f64::log10));
        let span = if high > low { high - low } else { 1.0 };
        let (low, high) = (low - MARGIN * span, high + MARGIN * span);
        let factors: &[f64] = if high - low < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = low.floor() as i32..=high.ceil() as i32;
        let ticks = powers.flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
        let inside = ticks.filter(|tick| (low..=high).contains(&tick.log10()));
        let ticks = inside.map(|tick| (tick, label(tick, tick))).collect();
        Self { low, high, logarithmic: true, ticks }
    }

    /// Where a value stands, from 0 at the low end to 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }
}

/// Smallest and largest value; 0 to 1 where there is none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(start, |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The smallest of 1, 2, 5, 10 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power);
    round.into_iter().find(|round| *round >= step).unwrap_or(10.0 * power)
}

/// A tick's value with as many decimals as its step needs.
fn label(value: f64, step: f64) -> String {
    let largest = value.abs().max(step);
    if value == 0.0 {
        "0".into()
    } else if largest >= 1e5 || step < 1e-4 {
        // Four digits tell neighbours apart, rounding errors do not show.
        let text = format!("{value:.3e}");
        let (digits, exponent) = text.split_once('e').expect("an exponent was asked for");
        format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
    } else {
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        format!("{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::linear([0.312, 0.874].into_iter(), 4);
        assert_eq!(labels(&axis), ["0.4", "0.6", "0.8"]);
        let axis = Axis::linear([-2.31, -2.3].into_iter(), 4);
        assert_eq!(labels(&axis), ["-2.310", "-2.305", "-2.300"]);
        let axis = Axis::linear([1.2e6, 7.7e6].into_iter(), 4);
        assert_eq!(labels(&axis), ["2e6", "4e6", "6e6"]);
        let axis = Axis::logarithmic([1.0, 1000.0].into_iter());
        assert_eq!(labels(&axis), ["1", "10", "100", "1000"]);
        let axis = Axis::logarithmic([10.0, 300.0].into_iter());
        assert_eq!(labels(&axis), ["10", "20", "50", "100", "200"]);
    }

    #[test]
    fn values_that_are_all_equal_stand_in_the_middle() {
        for axis in [Axis::linear([3.0, 3.0].into_iter(), 4), Axis::linear([0.0].into_iter(), 4)] {
            let value = if axis.low > 0.0 { 3.0 } else { 0.0 };
            assert!((axis.place(value) - 0.5).abs() < 1e-9, "{axis:?}");
        }
    }

    #[test]
    fn no_value_is_no_panic() {
        assert!(!Axis::linear(std::iter::empty(), 4).ticks.is_empty());
        assert!(!Axis::logarithmic([-1.0, f64::NAN].into_iter()).ticks.is_empty());
    }
}
