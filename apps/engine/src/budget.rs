//! A time budget: how many training steps and candidates fit into it.

use std::time::Duration;

/// Share of the budget that is planned with; the rest is for loading, saving and reporting.
const USABLE: f64 = 0.97;

/// Share of what is left after the warm-up that scoring gets at most.
const MOST_SCORING: f64 = 0.5;

/// Steps of the warm-up, unless they take too large a share of the budget.
const WARM_UP_STEPS: usize = 10;

/// What fits into the budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Training steps, those already done included.
    pub steps: u64,
    /// Candidates.
    pub candidates: u64,
    /// Seconds for the steps that are left.
    pub train_seconds: f64,
    /// Seconds after which training is cut short. What it takes beyond its own comes out of half
    /// of the share that is not planned with, so that it never costs candidates.
    pub train_limit: f64,
    /// Seconds for the candidates.
    pub score_seconds: f64,
}

/// What is known when the plan is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Seconds of the budget that are gone.
    pub spent: f64,
    /// Steps done.
    pub steps: u64,
    /// Seconds a step, its share of the evaluations between steps included.
    pub step_seconds: f64,
    /// Seconds a candidate.
    pub candidate_seconds: f64,
}

impl Plan {
    /// Scores as many candidates as wanted in at most half of the time that is left, and trains
    /// for the rest.
    pub(crate) fn new(budget: Duration, wanted: u64, measured: Measured) -> Self {
        let left = (budget.as_secs_f64() * USABLE - measured.spent).max(0.0);
        let scoring = wanted as f64 * measured.candidate_seconds;
        let candidates = if scoring <= left * MOST_SCORING {
            wanted
        } else {
            // At least one, so that there is a result.
            ((left * MOST_SCORING / measured.candidate_seconds) as u64).clamp(1, wanted)
        };
        let score_seconds = candidates as f64 * measured.candidate_seconds;
        let train_seconds = (left - score_seconds).max(0.0);
        let steps = measured.steps + (train_seconds / measured.step_seconds) as u64;
        let reserve = budget.as_secs_f64() * (1.0 - USABLE);
        let train_limit = train_seconds + reserve / 2.0;
        Self { steps, candidates, train_seconds, train_limit, score_seconds }
    }
}

/// Measures the time of a step, when training begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct WarmUp {
    steps: Vec<f64>,
}

impl WarmUp {
    /// Adds a step; gives the seconds of a step once they are known.
    pub(crate) fn add(&mut self, seconds: f64, budget: Duration) -> Option<f64> {
        self.steps.push(seconds);
        let spent: f64 = self.steps.iter().sum();
        let share = spent / budget.as_secs_f64();
        if (self.steps.len() < WARM_UP_STEPS || share < 0.02) && share < 0.1 {
            return None;
        }
        // The first steps fill caches and buffers.
        let later = &self.steps[self.steps.len() / 2..];
        Some((later.iter().sum::<f64>() / later.len() as f64).max(1e-6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(100);

    fn measured(candidate_seconds: f64) -> Measured {
        Measured { spent: 7.0, steps: 10, step_seconds: 0.1, candidate_seconds }
    }

    #[test]
    fn training_gets_what_scoring_leaves() {
        // 97 usable, 7 gone, 90 left, 20 for scoring: 70 for 700 steps.
        let plan = Plan::new(BUDGET, 200, measured(0.1));
        assert_eq!((plan.steps, plan.candidates), (710, 200));
    }

    #[test]
    fn training_that_is_slow_takes_nothing_from_scoring() {
        for candidate_seconds in [0.0001, 0.1, 1.0] {
            let plan = Plan::new(BUDGET, 200, measured(candidate_seconds));
            assert!(plan.train_limit > plan.train_seconds);
            assert!(7.0 + plan.train_limit + plan.score_seconds < 100.0, "{plan:?}");
        }
    }

    #[test]
    fn scoring_gets_half_at_most() {
        let plan = Plan::new(BUDGET, 200, measured(1.0));
        assert_eq!((plan.steps, plan.candidates), (460, 45));
        let plan = Plan::new(Duration::from_secs(1), 200, measured(1.0));
        assert_eq!((plan.steps, plan.candidates), (10, 1));
    }

    #[test]
    fn the_warm_up_ends_by_steps_or_by_time() {
        let mut warm_up = WarmUp::default();
        for _ in 0..9 {
            assert_eq!(warm_up.add(1.0, BUDGET), None);
        }
        assert_eq!(warm_up.add(1.0, BUDGET), Some(1.0));
        assert_eq!(WarmUp::default().add(30.0, BUDGET), Some(30.0));
    }
}
