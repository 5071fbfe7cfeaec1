//! Softmax cross-entropy of logits, its gradient, and accuracy; shared by all executors' callers.

/// Sums over a batch, so that batches add up in a fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossSum {
    /// Sum over images of the cross-entropy, in nats.
    pub loss: f64,
    /// Images whose largest logit is at the label.
    pub correct: usize,
    /// Images.
    pub count: usize,
}

impl LossSum {
    /// Mean cross-entropy, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    /// Share of images classified correctly, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.count += other.count;
    }
}

/// Cross-entropy of `logits`, row-major `[n, classes]`, against `labels`, `[n]`.
///
/// # Panics
/// Where the lengths do not fit, or a label is not below `classes`.
pub fn cross_entropy(logits: &[f32], labels: &[u16], classes: usize) -> LossSum {
    assert_eq!(logits.len(), labels.len() * classes, "one row of logits a label");
    let mut sum = LossSum { count: labels.len(), ..LossSum::default() };
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let (top, log_sum) = log_sum_exp(row);
        sum.loss += log_sum - f64::from(row[usize::from(label)]);
        sum.correct += usize::from(top == usize::from(label));
    }
    sum
}

/// As [`cross_entropy`]; writes the gradient of `weight` times the *mean* loss to `gradient`.
///
/// # Panics
/// As [`cross_entropy`], and where `gradient` is not as long as `logits`.
pub fn cross_entropy_gradient(
    logits: &[f32],
    labels: &[u16],
    classes: usize,
    weight: f32,
    gradient: &mut [f32],
) -> LossSum {
    assert_eq!(logits.len(), gradient.len(), "one gradient a logit");
    let factor = f64::from(weight) / labels.len() as f64;
    let rows = logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes));
    for ((row, gradient), &label) in rows.zip(labels) {
        let (_, log_sum) = log_sum_exp(row);
        for (class, (gradient, &logit)) in gradient.iter_mut().zip(row).enumerate() {
            let probability = (f64::from(logit) - log_sum).exp();
            let target = if class == usize::from(label) { 1.0 } else { 0.0 };
            *gradient = ((probability - target) * factor) as f32;
        }
    }
    cross_entropy(logits, labels, classes)
}

/// The position of the largest logit (of equal ones the first), and log of the sum of exponentials.
fn log_sum_exp(row: &[f32]) -> (usize, f64) {
    let mut top = 0;
    for (class, logit) in row.iter().enumerate() {
        if *logit > row[top] {
            top = class;
        }
    }
    let max = f64::from(row[top]);
    let sum: f64 = row.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    (top, max + sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_follows_the_formula() {
        // Recipe, in Python: r = [[1., 2., 0.5], [-1., 0., 3.]]
        // sum(log(sum(map(exp, row))) - row[k] for row, k in zip(r, [1, 0])) / 2
        let logits = [1.0, 2.0, 0.5, -1.0, 0.0, 3.0];
        let sum = cross_entropy(&logits, &[1, 0], 3);
        assert!((sum.mean_loss() - 2.265_126).abs() < 1e-5, "{}", sum.mean_loss());
        assert_eq!((sum.correct, sum.count), (1, 2));
    }

    #[test]
    fn gradient_is_the_central_difference() {
        let logits = [1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0];
        let labels = [1, 0];
        let mut gradient = [0.0; 6];
        cross_entropy_gradient(&logits, &labels, 3, 0.5, &mut gradient);
        for (index, &gradient) in gradient.iter().enumerate() {
            let at = |shift: f32| {
                let mut moved = logits;
                moved[index] += shift;
                0.5 * cross_entropy(&moved, &labels, 3).mean_loss()
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient)).abs() < 1e-5, "logit {index}");
        }
    }
}
