//! Running means of a phase's progress, for whoever watches.

/// Weight of the last step.
const SMOOTHING: f64 = 0.02;

/// Running means of loss and of seconds a step.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    /// Nothing before the first finite loss.
    pub loss: Option<f64>,
    /// Zero before the first step.
    pub seconds: f64,
}

impl Speed {
    /// Adds a step.
    pub(crate) fn add(&mut self, loss: Option<f64>, seconds: f64) {
        let blend = |before: f64, now: f64| before + SMOOTHING * (now - before);
        self.seconds = if self.seconds == 0.0 { seconds } else { blend(self.seconds, seconds) };
        if let Some(loss) = loss {
            self.loss = Some(self.loss.map_or(loss, |before| blend(before, loss)));
        }
    }
}
