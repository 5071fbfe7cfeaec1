//! Loss after temperature scaling (Guo, Pleiss, Sun and Weinberger, ICML 2017).
//!
//! Generated weights classify networks larger than those that the generator was trained on with too
//! much or too little confidence, and cross-entropy then measures mostly that. With the logits of
//! each network multiplied by the one factor that suits it best, what is left is how well it tells
//! classes apart; unlike accuracy it does not round.

/// Between 1 / `WIDEST` and `WIDEST` the factor is looked for.
const WIDEST: f64 = 256.0;

/// Steps of the search; each at least halves the interval of ln factor, from 11.1 to below 1e-8.
const STEPS: usize = 30;

/// The positive factor of row-major `logits`, [images, classes], with which their mean cross-entropy
/// against `labels` is least.
pub(crate) fn calibrating_factor(logits: &[f32], labels: &[u16], classes: usize) -> f64 {
    // The loss is convex in the factor, so its slope changes sign once.
    let (mut low, mut high) = (-WIDEST.ln(), WIDEST.ln());
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        let slope: f64 = scaled(logits, labels, classes, middle.exp()).map(|it| it.slope).sum();
        match slope > 0.0 {
            true => high = middle,
            false => low = middle,
        }
    }
    (0.5 * (low + high)).exp()
}

/// The cross-entropy of every image with its logits times `factor`, in nats. Not finite where a
/// logit is not.
pub(crate) fn scaled_losses(
    logits: &[f32],
    labels: &[u16],
    classes: usize,
    factor: f64,
) -> impl Iterator<Item = f64> {
    scaled(logits, labels, classes, factor).map(|it| it.loss)
}

/// Cross-entropy of an image's logits times a factor, and its derivative by that factor.
struct Scaled {
    loss: f64,
    slope: f64,
}

fn scaled(
    logits: &[f32],
    labels: &[u16],
    classes: usize,
    factor: f64,
) -> impl Iterator<Item = Scaled> {
    logits.chunks_exact(classes).zip(labels).map(move |(row, &label)| {
        let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (mut total, mut weighted) = (0.0, 0.0);
        for &logit in row {
            let below = f64::from(logit) - largest;
            let mass = (factor * below).exp();
            total += mass;
            weighted += mass * below;
        }
        let own = f64::from(row[usize::from(label)]) - largest;
        Scaled { loss: total.ln() - factor * own, slope: weighted / total - own }
    })
}

#[cfg(test)]
mod tests {
    use ghnas_core::loss::cross_entropy;
    use ghnas_core::rng;
    use rand::RngExt;

    use super::*;

    const CLASSES: usize = 5;

    /// The least mean cross-entropy over all factors.
    fn calibrated_loss(logits: &[f32], labels: &[u16], classes: usize) -> f64 {
        let factor = calibrating_factor(logits, labels, classes);
        scaled_losses(logits, labels, classes, factor).sum::<f64>() / labels.len() as f64
    }

    /// Logits that are often right, times `factor`.
    fn drawn(factor: f32) -> (Vec<f32>, Vec<u16>) {
        let mut rng = rng::stream(3, "calibration-test", 0);
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let label = rng.random_range(0..CLASSES);
            let row = (0..CLASSES).map(|class| {
                factor * (rng.random::<f32>() + if class == label { 0.4 } else { 0.0 })
            });
            logits.extend(row);
            labels.push(label as u16);
        }
        (logits, labels)
    }

    #[test]
    fn no_factor_gives_a_smaller_loss() {
        let (logits, labels) = drawn(1.0);
        let least = calibrated_loss(&logits, &labels, CLASSES);
        for step in -40..=40 {
            let factor = (f64::from(step) / 10.0).exp();
            let scaled: Vec<f32> = logits.iter().map(|logit| logit * factor as f32).collect();
            let loss = cross_entropy(&scaled, &labels, CLASSES).mean_loss();
            assert!(least <= loss + 1e-7, "{least} with the best factor, {loss} with {factor}");
        }
    }

    #[test]
    fn confidence_makes_no_difference() {
        let losses = [0.03, 1.0, 30.0].map(|factor| {
            let (logits, labels) = drawn(factor);
            calibrated_loss(&logits, &labels, CLASSES)
        });
        assert!(losses.iter().all(|loss| (loss - losses[0]).abs() < 1e-6), "{losses:?}");
        assert!(losses[0] < (CLASSES as f64).ln());
    }

    #[test]
    fn logits_that_are_not_finite_have_no_loss() {
        let (mut logits, labels) = drawn(1.0);
        logits[7] = f32::NAN;
        assert!(!calibrated_loss(&logits, &labels, CLASSES).is_finite());
        logits[7] = f32::INFINITY;
        assert!(!calibrated_loss(&logits, &labels, CLASSES).is_finite());
    }
}
