//! Fixes, after a short warm-up, how much of a time budget training gets.

use std::time::Duration;

use ghnas_core::{Phase, rng};

use super::Training;
use crate::budget::{Measured, Plan};
use crate::error::EngineError;
use crate::lowering::{Lowered, Lowering};
use crate::observer::Context;
use crate::parts::Parts;
use crate::scorer::Scorer;
use crate::store::{Meta, Phase as Timed};

/// Candidates that are scored to see how long one takes.
const TRIAL_CANDIDATES: u64 = 3;

impl Training<'_> {
    /// Fixes the number of steps and candidates that fit into the budget.
    pub(super) fn plan(
        &mut self,
        context: &mut Context<'_>,
        scorer: &mut Scorer,
        budget: Duration,
        step_seconds: f64,
    ) -> Result<Plan, EngineError> {
        let started = context.clock.now();
        self.try_scoring(scorer)?;
        let trial = context.clock.now().saturating_sub(started);
        let candidate_seconds = trial.as_secs_f64() / TRIAL_CANDIDATES as f64;
        let (store, config) = (self.study.store(), self.study.config());
        let mut measured = Measured {
            spent: store.seconds(Timed::Train)? + trial.as_secs_f64(),
            steps: self.step,
            step_seconds,
            candidate_seconds,
        };
        if config.train.evaluate_every > 0 {
            let evaluation = config.train.probes as f64 * candidate_seconds;
            measured.step_seconds += evaluation / config.train.evaluate_every as f64;
            // The one after the last step.
            measured.spent += evaluation;
        }
        let search = &config.search;
        let images = search.images as f64;
        let reference = candidate_seconds * (images + search.reference_images as f64) / images;
        measured.spent += search.references as f64 * reference;
        let plan = Plan::new(budget, config.search.candidates, measured);
        self.study.store_mut().transaction(|writer| {
            writer.set(Meta::PlannedSteps, plan.steps as i64)?;
            writer.set(Meta::PlannedCandidates, plan.candidates as i64)
        })?;
        context.observer.message(&format!(
            "of {:.0} s, {:.0} s are for {} training steps and {:.0} s for scoring {} candidates",
            budget.as_secs_f64(),
            plan.train_seconds,
            plan.steps,
            plan.score_seconds,
            plan.candidates,
        ));
        Ok(plan)
    }

    /// Scores a few architectures for nothing but the time it takes.
    fn try_scoring(&mut self, scorer: &mut Scorer) -> Result<(), EngineError> {
        let task = self.parts.task();
        let Parts { space, variants, generator, executor, .. } = &mut *self.parts;
        let lowering = Lowering { space: &**space, variants, task };
        for index in 0..TRIAL_CANDIDATES {
            let seed = rng::derive_seed(self.study.config().seed, "trial", index);
            let arch = lowering.space.sample(Phase::Score, seed);
            let lowered = arch.and_then(|arch| lowering.lower(&arch));
            // A candidate that has no score takes its time all the same.
            let _ = lowered.map(|Lowered { network, variants }| {
                scorer.score_with(&network, &variants, &mut **generator, &mut **executor)
            });
        }
        Ok(())
    }
}
