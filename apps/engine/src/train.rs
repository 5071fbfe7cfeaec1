//! Trains the weight generator: every step on another architecture (section 4.2, Eq. 16).

use std::time::Duration;

use ghnas_core::{Phase, SpaceError, StepOptions, rng};

use crate::budget::{Measured, Plan, WarmUp};
use crate::checkpoint::Checkpoint;
use crate::config::TrainConfig;
use crate::error::EngineError;
use crate::gradient::{Gradient, Part, PartResult};
use crate::observer::{Context, Progress};
use crate::parts::Parts;
use crate::report::StudyReport;
use crate::scorer::Scorer;
use crate::search::{open_scorer, report};
use crate::speed::Speed;
use crate::step_inputs::{StepInputs, StepSource, StepsAhead};
use crate::store::{Meta, Phase as Timed, TrainingStep};
use crate::study::Study;

/// Steps in a row that the space fails for, or without a finite loss and gradient, after which
/// training is given up.
const MOST_SKIPPED: u64 = 50;

/// Candidates that are scored to see how long one takes.
const TRIAL_CANDIDATES: u64 = 3;

/// How much longer than planned training may take before it is cut short.
const PATIENCE: f64 = 1.1;

/// Trains the generator of `study` from its last checkpoint to the end.
///
/// With a `budget` for training and scoring together, the number of steps is fixed after a short
/// warm-up, such that scoring gets the time it needs, at most half; the study records it, and a
/// resumed run keeps to it.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed,
/// with the last checkpoint in place.
pub fn train(
    study: &mut Study,
    parts: &mut Parts,
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    let mut scorer = open_scorer(study, parts)?;
    let mut training = Training::resume(study, parts)?;
    if training.step < training.study.steps()? {
        let source = StepSource::new(training.study.config(), training.parts)?;
        std::thread::scope(|scope| {
            let inputs = source.run_ahead(scope, training.step);
            training.run(context, inputs, &mut scorer, budget)
        })?;
    }
    report(study, parts)
}

/// The generator's training between two steps.
struct Training<'a> {
    study: &'a mut Study,
    parts: &'a mut Parts,
    gradient: Gradient,
    /// Steps done.
    step: u64,
    /// The last step that moved the generator, counted from 1; 0 for none.
    last_applied: u64,
    /// Rows since the last checkpoint.
    unsaved: Vec<TrainingStep>,
}

impl<'a> Training<'a> {
    /// Goes on from the last checkpoint, or begins.
    fn resume(study: &'a mut Study, parts: &'a mut Parts) -> Result<Self, EngineError> {
        let step = restore(study, parts)?;
        let steps = study.steps()?;
        let begun = !study.candidates()?.is_empty();
        study.store_mut().transaction(|writer| {
            writer.remove_training_steps_from(step)?;
            // Candidates that another generator scored say nothing about this one.
            if begun && step < steps { writer.remove_candidates() } else { Ok(()) }
        })?;
        let last_applied = study.store().last_applied_step()?.map_or(0, |step| step + 1);
        let (gradient, unsaved) = (Gradient::default(), Vec::new());
        Ok(Self { study, parts, gradient, step, last_applied, unsaved })
    }

    /// Trains to the end, or to the interrupt.
    fn run(
        &mut self,
        context: &mut Context<'_>,
        inputs: StepsAhead,
        scorer: &mut Scorer,
        budget: Option<Duration>,
    ) -> Result<(), EngineError> {
        let config = self.study.config().train.clone();
        let planned = self.study.store().number(Meta::PlannedSteps)?;
        let mut to_plan = budget.filter(|_| planned.is_none());
        // Before the plan is made there is no end in sight, and no halving of the learning rate.
        let mut steps = if to_plan.is_some() { u64::MAX } else { self.study.steps()? };
        let mut deadline = None;
        let mut warm_up = WarmUp::default();
        let mut speed = Speed::default();
        let mut saved = context.clock.now();
        let mut before = saved;
        // The first architecture that the space fails for is told of; the report counts them.
        let mut told = false;

        while self.step < steps {
            if context.interrupt.is_requested() {
                self.save(before.saturating_sub(saved))?;
                let (done, of, unit) = (self.step, self.end_shown(steps), "training steps");
                return Err(EngineError::Interrupted { done, of, unit });
            }
            let step_inputs = inputs.next()?;
            if let Some((_, error)) = step_inputs.failed.first().filter(|_| !told) {
                let text = format!("training step {}: {error}; it is passed over", self.step);
                context.observer.message(&text);
                told = true;
            }
            let loss = self.step(&step_inputs, &config, steps)?;
            inputs.give_back(step_inputs);
            let now = context.clock.now();
            let seconds = now.saturating_sub(before).as_secs_f64();
            before = now;
            speed.add(loss, seconds);
            let of = self.end_shown(steps);
            context.observer.training_step(&Progress {
                done: self.step,
                of,
                loss: speed.loss,
                images_per_second: (config.images_per_arch() * config.archs_per_step) as f64
                    / speed.seconds,
                seconds_left: of.saturating_sub(self.step) as f64 * speed.seconds,
            });

            if let Some(budget) = to_plan
                && let Some(step_seconds) = warm_up.add(seconds, budget)
            {
                // Saved first, so that the plan never changes a step that is done.
                self.save(now.saturating_sub(saved))?;
                let plan = self.plan(context, scorer, budget, step_seconds)?;
                (steps, to_plan) = (plan.steps, None);
                before = context.clock.now();
                saved = before;
                deadline = Some(before + Duration::from_secs_f64(plan.train_seconds * PATIENCE));
            } else if deadline.is_some_and(|deadline| now > deadline) && self.step < steps {
                self.save(now.saturating_sub(saved))?;
                saved = now;
                steps = self.cut_short(context)?;
            } else if now.saturating_sub(saved).as_secs_f64() >= config.checkpoint_seconds {
                self.save(now.saturating_sub(saved))?;
                saved = now;
            }
        }
        if self.unsaved.is_empty() {
            return Ok(());
        }
        self.save(before.saturating_sub(saved))
    }

    /// The number of steps to show: before the plan is made, the configured one.
    fn end_shown(&self, steps: u64) -> u64 {
        if steps == u64::MAX { self.study.config().train.steps } else { steps }
    }

    /// Makes one step; gives the mean loss of the architectures that have a finite one.
    fn step(
        &mut self,
        inputs: &StepInputs,
        config: &TrainConfig,
        steps: u64,
    ) -> Result<Option<f64>, EngineError> {
        let Parts { generator, executor, .. } = &mut *self.parts;
        let learning_rate = config.learning_rate_at(self.step, steps);
        let first_row = self.unsaved.len();
        let mut moved = false;
        for (slot, (hash, network)) in inputs.networks.iter().enumerate() {
            let what = || format!("training step {}, architecture {hash}", self.step);
            let index = if config.split_batch { slot } else { 0 };
            let (images, labels) = inputs.part(index, config.images_per_arch());
            let share = 1.0 / config.archs_per_step as f32;
            let part = Part { network, images, labels, share };
            let result = self.gradient.add(part, &mut **generator, &mut **executor);
            let PartResult { loss, accuracy, finite } =
                result.map_err(|failure| failure.at(what()))?;
            moved |= finite;
            self.unsaved.push(TrainingStep {
                step: self.step,
                slot,
                hash: hash.clone(),
                loss,
                accuracy,
                gradient_norm: None,
                learning_rate,
                applied: finite,
            });
        }
        for (slot, (hash, _)) in (inputs.networks.len()..).zip(&inputs.failed) {
            self.unsaved.push(TrainingStep {
                step: self.step,
                slot,
                hash: hash.clone(),
                loss: f64::NAN,
                accuracy: f64::NAN,
                gradient_norm: None,
                learning_rate,
                applied: false,
            });
        }
        if moved {
            let options = StepOptions { learning_rate, clip_norm: config.clip_norm };
            let done = generator.step(options).map_err(|source| EngineError::Generator {
                what: format!("training step {}", self.step),
                source,
            })?;
            for row in &mut self.unsaved[first_row..first_row + inputs.networks.len()] {
                row.gradient_norm = Some(done.gradient_norm);
                row.applied &= done.applied;
            }
            moved = done.applied;
        }
        self.step += 1;
        let rows = &self.unsaved[first_row..];
        if moved {
            self.last_applied = self.step;
        } else if self.step - self.last_applied >= MOST_SKIPPED {
            let (steps, step) = (self.step - self.last_applied, self.step - 1);
            let diverged = match inputs.failed.first() {
                Some((_, error)) => EngineError::Space {
                    what: format!("{steps} training steps in a row fail, the last step {step}"),
                    source: SpaceError::Other(error.to_string()),
                },
                None => EngineError::Diverged { steps, step, hash: rows[0].hash.clone() },
            };
            // Saved, so that a person can look at how it came about.
            self.save(Duration::ZERO)?;
            return Err(diverged);
        }
        let finite = rows.iter().map(|row| row.loss).filter(|loss| loss.is_finite());
        let (sum, count) = finite.fold((0.0, 0), |(sum, count), loss| (sum + loss, count + 1));
        Ok((count > 0).then(|| sum / f64::from(count)))
    }

    /// Stores the rows, then replaces the checkpoint: a kill in between leaves rows that the next
    /// run removes, never a checkpoint whose rows are missing.
    fn save(&mut self, spent: Duration) -> Result<(), EngineError> {
        let state = self.parts.generator.save().map_err(|source| EngineError::Generator {
            what: format!("saving after step {}", self.step),
            source,
        })?;
        let rows = std::mem::take(&mut self.unsaved);
        self.study.store_mut().transaction(|writer| {
            writer.add_training_steps(&rows)?;
            match (rows.first(), rows.last()) {
                (Some(first), Some(last)) => {
                    writer.add_timing(Timed::Train, first.step, last.step, spent)
                }
                _ => Ok(()),
            }
        })?;
        self.study.write_checkpoint(&Checkpoint { step: self.step, state })
    }

    /// Fixes the number of steps and candidates that fit into the budget.
    fn plan(
        &mut self,
        context: &mut Context<'_>,
        scorer: &mut Scorer,
        budget: Duration,
        step_seconds: f64,
    ) -> Result<Plan, EngineError> {
        let started = context.clock.now();
        self.try_scoring(scorer)?;
        let trial = context.clock.now().saturating_sub(started);
        let store = self.study.store();
        let plan = Plan::new(
            budget,
            self.study.config().search.candidates,
            Measured {
                spent: store.seconds(Timed::Train)? + trial.as_secs_f64(),
                steps: self.step,
                step_seconds,
                candidate_seconds: trial.as_secs_f64() / TRIAL_CANDIDATES as f64,
            },
        );
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
        let Parts { space, generator, executor, .. } = &mut *self.parts;
        for index in 0..TRIAL_CANDIDATES {
            let seed = rng::derive_seed(self.study.config().seed, "trial", index);
            let network =
                space.sample(Phase::Score, seed).and_then(|arch| space.lower(&arch, task));
            // A candidate that has no score takes its time all the same.
            let _ = network.map(|it| scorer.score(&it, &mut **generator, &mut **executor));
        }
        Ok(())
    }

    /// Ends training at this step, because it took much longer than was planned.
    fn cut_short(&mut self, context: &mut Context<'_>) -> Result<u64, EngineError> {
        let step = self.step;
        self.study.store_mut().transaction(|writer| writer.set(Meta::PlannedSteps, step as i64))?;
        let text = format!("training is slower than planned and ends after {step} steps");
        context.observer.message(&text);
        Ok(step)
    }
}

/// Loads the last checkpoint into the generator; gives the number of steps done.
pub(crate) fn restore(study: &Study, parts: &mut Parts) -> Result<u64, EngineError> {
    let Some(Checkpoint { step, state }) = study.checkpoint()? else { return Ok(0) };
    let loaded = parts.generator.load(&state);
    loaded.map_err(|error| study.refuse_checkpoint(error.to_string()))?;
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::observer::{Interrupt, Silent};
    use crate::study::Opening;
    use crate::toy::{self, Ticks};

    fn train_in(
        dir: &std::path::Path,
        config: &Config,
        budget: Option<Duration>,
    ) -> (Study, Result<StudyReport, EngineError>) {
        let mut study = Study::open(dir, config, Opening::Resume).unwrap();
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
        let report = train(&mut study, &mut toy::parts(config), &mut context, budget);
        (study, report)
    }

    #[test]
    fn losses_fall_and_the_learning_rate_is_halved() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.steps=40"]);
        let (study, report) = train_in(dir.path(), &config, None);
        let steps = study.training_steps().unwrap();
        let mean = |rows: &[TrainingStep]| rows.iter().map(|row| row.loss).sum::<f64>() / 10.0;
        assert!(mean(&steps[30..]) < 0.8 * mean(&steps[..10]));
        let rates = [0, 19, 20, 29, 30, 39].map(|step| steps[step].learning_rate / 0.05);
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        let generator = report.unwrap().generator;
        assert_eq!((generator.steps, generator.skipped, generator.parameters), (40, 0, 16));
        assert!((generator.final_loss.unwrap() - mean(&steps) / 4.0).abs() < 1e-12);
    }

    /// The generator's state after one step, and the step's rows.
    fn one_step(flags: &[&str]) -> (Checkpoint, Vec<TrainingStep>) {
        let dir = tempfile::tempdir().unwrap();
        let (study, report) = train_in(dir.path(), &toy::config(flags), None);
        report.unwrap();
        (study.checkpoint().unwrap().unwrap(), study.training_steps().unwrap())
    }

    #[test]
    fn a_split_batch_gives_each_architecture_images_of_its_own_and_an_equal_share() {
        let one = ["train.steps=1", "train.batch=12", "space.settings.ops=[\"wide\"]"];
        let one_layer = [&one[..], &["space.settings.nodes=1"]].concat();
        let split = ["train.archs_per_step=3", "train.split_batch=true"];
        let (whole, whole_row) = one_step(&one_layer);
        let (parts, rows) = one_step(&[&one_layer[..], &split].concat());
        // There is one architecture, so parts of the batch add up to the whole of it.
        assert_eq!((whole_row.len(), rows.len()), (1, 3));
        let mean = rows.iter().map(|row| row.loss).sum::<f64>() / 3.0;
        assert!((mean - whole_row[0].loss).abs() < 1e-6, "{mean}");
        assert!(rows[0].loss != rows[1].loss && rows[1].loss != rows[2].loss);
        let norms = [&rows[0], &whole_row[0]].map(|row| row.gradient_norm.unwrap());
        assert!((norms[0] / norms[1] - 1.0).abs() < 1e-5, "{norms:?}");
        for (name, tensor) in &whole.state.tensors {
            for (whole, part) in tensor.data.iter().zip(&parts.state.tensors[name].data) {
                assert!((whole - part).abs() < 1e-6, "{name}: {whole} {part}");
            }
        }
        // Without the split, each has the whole batch.
        let (_, rows) = one_step(&[&one_layer[..], &split[..1]].concat());
        assert!(rows.iter().all(|row| row.loss == whole_row[0].loss));
    }

    #[test]
    fn steps_that_are_not_finite_are_skipped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.steps=40", "space.settings.ops=[\"wide\", \"broken\"]"]);
        let (study, report) = train_in(dir.path(), &config, None);
        let steps = study.training_steps().unwrap();
        let skipped = steps.iter().filter(|row| !row.applied).count() as u64;
        assert!((1..40).contains(&skipped), "{skipped}");
        assert_eq!(report.unwrap().generator.skipped, skipped);
        for row in steps {
            assert_eq!(row.applied, row.loss.is_finite());
            assert_eq!(row.applied, row.gradient_norm.is_some());
        }
    }

    #[test]
    fn training_that_never_is_finite_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.steps=400", "space.settings.ops=[\"broken\"]"]);
        let (study, report) = train_in(dir.path(), &config, None);
        let error = report.unwrap_err();
        assert!(matches!(error, EngineError::Diverged { steps: 50, step: 49, .. }), "{error:?}");
        assert_eq!(study.training_steps().unwrap().len(), 50);
    }

    #[test]
    fn architectures_that_the_space_fails_for_are_passed_over_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let ops = "space.settings.ops=[\"wide\", \"absent\"]";
        let config = toy::config(&["train.steps=40", ops]);
        let (study, report) = train_in(dir.path(), &config, None);
        let steps = study.training_steps().unwrap();
        let skipped = steps.iter().filter(|row| !row.applied).count() as u64;
        assert_eq!((steps.len(), (1..40).contains(&skipped)), (40, true), "{skipped}");
        assert_eq!(report.unwrap().generator.skipped, skipped);
        let config = toy::config(&["train.steps=4", "train.archs_per_step=8", ops]);
        let (study, report) = train_in(tempfile::tempdir().unwrap().path(), &config, None);
        assert_eq!(
            (study.training_steps().unwrap().len(), report.unwrap().generator.skipped),
            (32, 0)
        );
    }

    #[test]
    fn a_space_that_always_fails_ends_training_in_its_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.steps=400", "space.settings.ops=[\"absent\"]"]);
        let (study, report) = train_in(dir.path(), &config, None);
        let error = report.unwrap_err();
        let EngineError::Space { what, source } = error else { panic!("{error:?}") };
        assert_eq!(what, "50 training steps in a row fail, the last step 49");
        assert!(source.to_string().contains("no operation 'absent'"), "{source}");
        assert_eq!(study.training_steps().unwrap().len(), 50);
    }

    #[test]
    fn an_operation_that_cannot_run_ends_training_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["space.settings.ops=[\"foreign\"]"]);
        let error = train_in(dir.path(), &config, None).1.unwrap_err();
        let EngineError::Executor { what, .. } = error else { panic!("{error:?}") };
        assert!(what.starts_with("training step 0, architecture "), "{what}");
    }

    #[test]
    fn a_budget_fixes_steps_and_candidates_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.checkpoint_seconds=1000"]);
        let (study, report) = train_in(dir.path(), &config, Some(Duration::from_secs(200)));
        // On this clock a step takes one second.
        let (steps, candidates) = (study.steps().unwrap(), study.candidates_wanted().unwrap());
        assert!((150..200).contains(&steps), "{steps}");
        assert_eq!((report.unwrap().generator.steps, candidates), (steps, 5));
        let rates = study.training_steps().unwrap();
        let halved = rates.iter().position(|row| row.learning_rate < 0.05).unwrap() as u64;
        assert_eq!(halved, steps.div_ceil(2));
        drop(study);
        let (study, _) = train_in(dir.path(), &config, Some(Duration::from_secs(2000)));
        assert_eq!(study.steps().unwrap(), steps);
    }

    /// Makes the clock go ten times as fast once the plan is made.
    struct SlowDown<'a>(&'a Ticks);

    impl crate::observer::Observer for SlowDown<'_> {
        fn training_step(&mut self, _: &Progress) {}

        fn candidate_scored(&mut self, _: &Progress) {}

        fn message(&mut self, _: &str) {
            self.0.pace.set(10);
        }
    }

    #[test]
    fn training_that_is_slower_than_planned_is_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let config = toy::config(&["train.checkpoint_seconds=1000"]);
        let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        let mut context = Context { observer: &mut SlowDown(&clock), interrupt, clock: &clock };
        let budget = Some(Duration::from_secs(200));
        let report = train(&mut study, &mut toy::parts(&config), &mut context, budget).unwrap();
        // 10 steps before the plan, and about 170 seconds of 10 seconds a step after it.
        assert!((20..40).contains(&report.generator.steps), "{}", report.generator.steps);
        assert_eq!(study.steps().unwrap(), report.generator.steps);
        assert_eq!(study.training_steps().unwrap().len() as u64, report.generator.steps);
    }

    #[test]
    fn other_images_are_refused() {
        let (dir, config) = (tempfile::tempdir().unwrap(), toy::config(&[]));
        train_in(dir.path(), &config, None).1.unwrap();
        let mut study = Study::load(dir.path()).unwrap();
        let mut parts = toy::parts(&config);
        parts.data = toy::data(1);
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
        let error = train(&mut study, &mut parts, &mut context, None).unwrap_err();
        assert!(matches!(error, EngineError::OtherImages { .. }), "{error:?}");
    }
}
