//! A tensor's moving average, which scoring reads.

use ghnas_core::Averaging;

/// Which values of a tensor are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Those of the last step, with which training goes on.
    Newest,
    /// Their moving average; the newest where there is none.
    Average,
}

/// The moving average of a tensor's values; empty until the first step, and where none is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Average {
    pub(crate) values: Vec<f32>,
    /// How many steps it has seen.
    pub(crate) steps: u64,
}

impl Average {
    /// Begins with `values`, before their first step.
    pub(crate) fn begin(&mut self, values: &[f32]) {
        if self.values.is_empty() {
            self.values.extend(values);
        }
    }

    /// Moves towards `values`, which have just made a step.
    pub(crate) fn follow(&mut self, values: &[f32], averaging: Averaging) {
        self.steps += 1;
        let share = averaging.share(self.steps);
        for (average, value) in self.values.iter_mut().zip(values) {
            *average += share * (value - *average);
        }
    }
}
