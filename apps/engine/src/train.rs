//! Trains the weight generator: every step on another architecture (section 4.2, Eq. 16).

mod planning;
mod probing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ghnas_core::{SpaceError, StepOptions};

use crate::budget::WarmUp;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Selection, TrainConfig};
use crate::error::EngineError;
use crate::gradient::{Gradient, Part, PartResult};
use crate::observer::{Context, Progress};
use crate::parts::Parts;
use crate::report::StudyReport;
use crate::scorer::Scorer;
use crate::scratch::beside;
use crate::search::{open_scorer, report};
use crate::selection::History;
use crate::spares::Spares;
use crate::speed::Speed;
use crate::step_inputs::{StepInputs, StepSource, StepsAhead};
use crate::store::{Meta, Phase as Timed, TrainingStep};
use crate::study::Study;
use crate::validation::{Evaluation, ProbeLoss, Probes};

/// Steps in a row that the space fails for, or without a finite loss and gradient, after which
/// training is given up.
const MOST_SKIPPED: u64 = 50;

/// Trains the generator of `study` from its last checkpoint to the end.
///
/// With a `budget` for training and scoring together, the number of steps is fixed after a short
/// warm-up, such that scoring gets the time it needs, at most half; the study records it, and a
/// resumed run keeps to it.
///
/// With `train.evaluate_every`, the generator is evaluated between steps; `train.select` says which
/// of its states is the trained one, and `train.patience` may end training early. Probes that are
/// trained beside it are by parts from `spares`, before all else.
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed,
/// with the last checkpoint in place.
pub fn train(
    study: &mut Study,
    parts: &mut Parts,
    spares: Spares<'_>,
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    let mut scorer = open_scorer(study, parts)?;
    let mut training = Training::resume(study, parts, spares)?;
    let steps = training.study.steps()?;
    if training.step < steps || training.history.is_due(training.step, steps) {
        let source = StepSource::new(training.study.config(), training.parts)?;
        std::thread::scope(|scope| {
            let inputs = source.run_ahead(scope, training.step);
            training.run(context, inputs, &mut scorer, budget)
        })?;
    }
    if study.config().train.select != Selection::Last {
        restore(study, parts)?;
    }
    report(study, parts)
}

/// The generator's training between two steps.
struct Training<'a> {
    study: &'a mut Study,
    parts: &'a mut Parts,
    spares: Spares<'a>,
    gradient: Gradient,
    /// Steps done.
    step: u64,
    /// The last step that moved the generator, counted from 1; 0 for none.
    last_applied: u64,
    /// Rows since the last checkpoint.
    unsaved: Vec<TrainingStep>,
    /// Drawn when they are first needed.
    probes: Option<Probes>,
    /// How probes are to be trained briefly from scratch; nothing where they are not, or were.
    beside: Option<Config>,
    /// The probes after that.
    trained_probes: Vec<ProbeLoss>,
    history: History,
}

impl<'a> Training<'a> {
    /// Goes on from the last checkpoint, or begins.
    fn resume(
        study: &'a mut Study,
        parts: &'a mut Parts,
        spares: Spares<'a>,
    ) -> Result<Self, EngineError> {
        let config = study.config();
        let by_training = config.train.select == Selection::BriefTraining;
        let beside = by_training.then(|| beside(config, spares.catalogue)).transpose()?;
        let last = load_last(study, parts)?;
        let step = last.as_ref().map_or(0, |last| last.step);
        let steps = study.steps()?;
        let begun = !study.candidates()?.is_empty();
        study.store_mut().transaction(|writer| {
            writer.remove_training_steps_from(step)?;
            writer.remove_evaluations_after(step)?;
            // Candidates that another generator scored say nothing about this one.
            if begun && step < steps { writer.remove_candidates() } else { Ok(()) }
        })?;
        let last_applied = study.store().last_applied_step()?.map_or(0, |step| step + 1);
        let (gradient, unsaved) = (Gradient::default(), Vec::new());
        let history = History::of(study)?;
        let training = Self {
            study,
            parts,
            spares,
            gradient,
            step,
            last_applied,
            unsaved,
            probes: None,
            beside,
            trained_probes: Vec::new(),
            history,
        };
        if let Some(last) = last {
            training.keep_if_selected(&last)?;
        }
        Ok(training)
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
        self.train_probes(context, scorer)?;
        let mut before = context.clock.now();
        // The first architecture that the space fails for is told of; the report counts them.
        let mut told = false;

        while self.step < steps || self.history.is_due(self.step, steps) {
            if context.interrupt.is_requested() {
                self.save(before.saturating_sub(saved))?;
                let (done, of, unit) = (self.step, self.end_shown(steps), "training steps");
                return Err(EngineError::Interrupted { done, of, unit });
            }
            if self.history.is_due(self.step, steps) {
                let evaluation = self.evaluate(context, scorer)?;
                before = context.clock.now();
                let spent = before.saturating_sub(std::mem::replace(&mut saved, before));
                let checkpoint = self.store(Some(&evaluation), spent)?;
                self.history.push(evaluation);
                self.keep_if_selected(&checkpoint)?;
                continue;
            }
            if self.history.is_out_of_patience() {
                steps = self.end(context, "training ends early")?;
                continue;
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
                unit: "training steps",
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
                deadline = Some(before + Duration::from_secs_f64(plan.train_limit));
            } else if deadline.is_some_and(|deadline| now > deadline) && self.step < steps {
                self.save(now.saturating_sub(saved))?;
                saved = now;
                steps = self.end(context, "training is slower than planned and ends")?;
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

    /// Scores the probes with the generator as it is.
    fn evaluate(
        &mut self,
        context: &mut Context<'_>,
        scorer: &mut Scorer,
    ) -> Result<Evaluation, EngineError> {
        let probes = self.take_probes()?;
        let Parts { generator, executor, .. } = &mut *self.parts;
        let (before, trained) = (self.history.last(), &self.trained_probes);
        let (generator, executor) = (&mut **generator, &mut **executor);
        let evaluation =
            probes.evaluate(self.step, before, trained, scorer, generator, executor)?;
        self.probes = Some(probes);
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        let agreement = evaluation
            .agreement
            .map(|agreement| format!(", with that after a brief training of each {agreement:.4}"));
        context.observer.message(&format!(
            "after {} steps, validation loss {} over {} probes; rank correlation with the \
             evaluation before {}{}",
            self.step,
            number(evaluation.loss),
            evaluation.scored(),
            number(evaluation.stability),
            agreement.unwrap_or_default()
        ));
        Ok(evaluation)
    }

    /// The probes, to be put back.
    fn take_probes(&mut self) -> Result<Probes, EngineError> {
        match self.probes.take() {
            Some(probes) => Ok(probes),
            None => Probes::draw(self.study.config(), &*self.parts.space, self.parts.task()),
        }
    }

    /// Keeps the state of `checkpoint`, the last one, where its evaluation is the best so far.
    ///
    /// This comes after the checkpoint itself: a kill in between leaves a selected state that is
    /// the last checkpoint, and the next run starts here.
    fn keep_if_selected(&self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        match self.history.selected() {
            Some(best) if best.step == checkpoint.step => self.study.write_selected(checkpoint),
            _ => Ok(()),
        }
    }

    fn save(&mut self, spent: Duration) -> Result<(), EngineError> {
        self.store(None, spent).map(drop)
    }

    /// Stores the rows, then replaces the checkpoint: a kill in between leaves rows that the next
    /// run removes, never a checkpoint whose rows are missing.
    fn store(
        &mut self,
        evaluation: Option<&Evaluation>,
        spent: Duration,
    ) -> Result<Checkpoint, EngineError> {
        let state = self.parts.generator.save().map_err(|source| EngineError::Generator {
            what: format!("saving after step {}", self.step),
            source,
        })?;
        let rows = std::mem::take(&mut self.unsaved);
        self.study.store_mut().transaction(|writer| {
            writer.add_training_steps(&rows)?;
            if let Some(evaluation) = evaluation {
                writer.add_evaluation(evaluation)?;
            }
            match (rows.first(), rows.last()) {
                (Some(first), Some(last)) => {
                    writer.add_timing(Timed::Train, first.step, last.step, spent)
                }
                // An evaluation that a run began with.
                _ if evaluation.is_some() => {
                    writer.add_timing(Timed::Train, self.step - 1, self.step - 1, spent)
                }
                _ => Ok(()),
            }
        })?;
        let checkpoint = Checkpoint { step: self.step, state };
        self.study.write_checkpoint(&checkpoint)?;
        Ok(checkpoint)
    }

    /// Ends training at this step, whose state is saved; `why` is told.
    fn end(&mut self, context: &mut Context<'_>, why: &str) -> Result<u64, EngineError> {
        let step = self.step;
        self.study.store_mut().transaction(|writer| writer.set(Meta::PlannedSteps, step as i64))?;
        context.observer.message(&format!("{why} after {step} steps"));
        Ok(step)
    }
}

/// Loads the last checkpoint into the generator.
fn load_last(study: &Study, parts: &mut Parts) -> Result<Option<Checkpoint>, EngineError> {
    let last = study.checkpoint()?;
    if let Some(Checkpoint { state, .. }) = &last {
        let loaded = parts.generator.load(state);
        loaded.map_err(|error| study.refuse_checkpoint(error.to_string()))?;
    }
    Ok(last)
}

/// Loads the trained generator, which is the selected state or the last checkpoint, where training
/// is over; otherwise the last checkpoint. Gives the number of steps done.
///
/// # Errors
/// [`EngineError::NotTrained`] where all steps are done, but not the evaluation after them.
pub(crate) fn restore(study: &Study, parts: &mut Parts) -> Result<u64, EngineError> {
    let Some(Checkpoint { step, .. }) = load_last(study, parts)? else { return Ok(0) };
    let (history, steps) = (History::of(study)?, study.steps()?);
    if step >= steps && history.is_due(step, steps) {
        return Err(EngineError::NotTrained { dir: study.dir().into(), step, steps });
    }
    let Some(best) = history.selected().filter(|best| best.step != step && step >= steps) else {
        return Ok(step);
    };
    let selected = study.selected()?.filter(|selected| selected.step == best.step);
    let Some(Checkpoint { state, .. }) = selected else {
        let reason = format!("it is not that after {} steps, which evaluations select", best.step);
        return Err(study.refuse_selected(reason));
    };
    let loaded = parts.generator.load(&state);
    loaded.map_err(|error| study.refuse_selected(error.to_string()))?;
    Ok(step)
}
