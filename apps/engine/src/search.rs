//! Scores candidates with a trained generator and ranks them (section 5.1).

mod ahead;
mod command;
mod evaluate;
mod networks;
mod rank;
mod results;
mod rungs;
#[cfg(test)]
mod tests;

pub(crate) use command::asked;
pub(crate) use evaluate::lower_one;
pub use rank::{ProxyWork, rank, rank_by_proxy};
pub use results::front_svg;
pub(crate) use results::report;

use std::time::Duration;

use ghnas_core::{
    BuildContext, CandidateId, Command, Executor, Outcome, Searcher, SpaceError, WeightGenerator,
};

use self::ahead::Ahead;
use self::evaluate::Evaluator;
use self::networks::ScoredNetworks;
use self::rungs::Rungs;
use crate::config::Config;
use crate::encoder::given;
use crate::error::EngineError;
use crate::lowering::{Lowered, Lowering};
use crate::observer::{Context, Progress};
use crate::parts::{Parts, build_searcher};
use crate::references::refer;
use crate::report::StudyReport;
use crate::scorer::Scorer;
use crate::spares::{Pool, Seat, Spares};
use crate::speed::Speed;
use crate::store::{Candidate, CandidateState, Meta, Phase as Timed, Writer};
use crate::study::Study;
use crate::train::{restore, train};

/// Candidates are stored at least this often; results do not depend on it.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// Trains the generator of `study` unless it is trained, scores candidates until there are enough,
/// and ranks them. `budget` is for both together; see [`train()`].
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed.
pub fn search(
    study: &mut Study,
    parts: &mut Parts,
    spares: Spares<'_>,
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    train(study, parts, spares, context, budget)?;
    score(study, parts, spares, context, budget)
}

/// Scores the candidates that the searcher asks for until there are enough, and ranks them. Where
/// a `budget` is over before, the candidates so far are all.
///
/// # Errors
/// [`EngineError::NotTrained`] where the generator is not trained to the end;
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed.
pub fn score(
    study: &mut Study,
    parts: &mut Parts,
    spares: Spares<'_>,
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    let scorer = open_scorer(study, parts)?;
    restore_trained(study, parts)?;
    if let Some(encoder) = &parts.encoder {
        encoder.train(spares.generators(study.config(), &*parts.generator, 1)?);
    }
    if let Some(state) = study.store().bytes(Meta::Searcher)? {
        parts.searcher.load(&state)?;
    }
    let spent = study.store().seconds(Timed::Train)? + study.store().seconds(Timed::Score)?;
    let budget = budget.map(|budget| budget.saturating_sub(Duration::from_secs_f64(spent)));
    Search::resume(study, parts, spares, scorer, context)?.run(context, budget)?;
    report(study, parts)
}

/// A scorer on the images that the study was begun with.
pub(crate) fn open_scorer(study: &mut Study, parts: &Parts) -> Result<Scorer, EngineError> {
    let config = &study.config().search;
    let scorer = Scorer::of(&parts.data, config);
    let images = scorer.fingerprint();
    match study.store().text(Meta::Images)? {
        Some(known) if known == images => {}
        Some(_) => return Err(EngineError::OtherImages { dir: study.dir().into() }),
        None => study.store_mut().transaction(|writer| writer.set(Meta::Images, images))?,
    }
    Ok(scorer)
}

/// Loads the trained generator of `study`.
///
/// # Errors
/// [`EngineError::NotTrained`] where it is not trained to the end.
pub(crate) fn restore_trained(study: &Study, parts: &mut Parts) -> Result<(), EngineError> {
    let (step, steps) = (restore(study, parts)?, study.steps()?);
    if step < steps {
        return Err(EngineError::NotTrained { dir: study.dir().into(), step, steps });
    }
    Ok(())
}

/// Looks ahead with a copy of the searcher, and scores in `seats`.
fn look_ahead(
    config: &Config,
    parts: &Parts,
    spares: Spares<'_>,
    seats: Pool<Seat>,
) -> Result<Ahead, EngineError> {
    let encoder = || given(&parts.encoder);
    let context = BuildContext { encoder: &encoder, ..spares.build_context(config.seed) };
    let copy = build_searcher(config, &parts.space, &context)?;
    Ok(Ahead::new(copy, seats, spares.at_once()))
}

/// A search between two candidates.
struct Search<'a> {
    study: &'a mut Study,
    searcher: &'a mut dyn Searcher,
    generator: &'a mut dyn WeightGenerator,
    executor: &'a mut dyn Executor,
    scorer: Scorer,
    evaluator: Evaluator<'a>,
    /// Nothing where candidates are scored one at a time.
    ahead: Option<Ahead>,
    candidates: Vec<Candidate>,
    /// Candidates that are in the store.
    stored: usize,
}

impl<'a> Search<'a> {
    fn resume(
        study: &'a mut Study,
        parts: &'a mut Parts,
        spares: Spares<'a>,
        scorer: Scorer,
        context: &mut Context<'_>,
    ) -> Result<Self, EngineError> {
        let candidates = study.candidates()?;
        let known = candidates.iter().filter_map(|candidate| {
            let hash = candidate.arch.as_ref()?.hash().to_string();
            Some(((hash, candidate.rung()), candidate.state.clone()))
        });
        let known = known.collect();
        let over = candidates.len() as u64 >= study.candidates_wanted()?;
        let (config, task, at_once) = (study.config(), parts.task(), spares.at_once());
        // What is trained from scratch is not like the references.
        let plain = scorer.clone();
        let alone = at_once == 1 && config.search.references == 0;
        let (scorer, ahead) = match over || alone {
            true => (scorer, None),
            false => {
                let seats = spares.seats(config, &scorer, &*parts.generator)?;
                let scorer = refer(scorer, config, parts, &seats, context)?;
                let seats = seats.map(|seat| seat.with(&scorer));
                let ahead = match at_once {
                    1 => None,
                    _ => Some(look_ahead(config, parts, spares, seats)?),
                };
                (scorer, ahead)
            }
        };
        let Parts { data, space, variants, generator, executor, searcher, .. } = parts;
        let rungs = Rungs::new(config, spares.catalogue, data)?;
        let stored = candidates.len();
        let networks = ScoredNetworks::new();
        let lowering = Lowering { space: &**space, variants, task };
        let evaluator = Evaluator { lowering, scorer: plain, rungs, known, networks };
        Ok(Self {
            study,
            searcher: &mut **searcher,
            generator: &mut **generator,
            executor: &mut **executor,
            scorer,
            evaluator,
            ahead,
            candidates,
            stored,
        })
    }

    fn run(
        &mut self,
        context: &mut Context<'_>,
        budget: Option<Duration>,
    ) -> Result<(), EngineError> {
        let of = self.study.candidates_wanted()?;
        let started = context.clock.now();
        let (mut stored, mut speed, mut told) = (started, Speed::default(), false);
        loop {
            let done = self.candidates.len() as u64;
            let now = context.clock.now();
            let over = done >= of;
            let late = budget.is_some_and(|budget| now.saturating_sub(started) >= budget);
            let interrupted = context.interrupt.is_requested();
            if over || late || interrupted || now.saturating_sub(stored) >= STORE_EVERY {
                let state = self.searcher.save()?;
                self.store(state, now.saturating_sub(stored))?;
                stored = now;
            }
            if over {
                return Ok(());
            }
            if interrupted {
                return Err(EngineError::Interrupted { done, of, unit: "candidates" });
            }
            if late && done > 0 {
                let planned =
                    |writer: &Writer<'_>| writer.set(Meta::PlannedCandidates, done as i64);
                self.study.store_mut().transaction(planned)?;
                let text = format!("the time is over; {done} of {of} candidates are scored");
                context.observer.message(&text);
                return Ok(());
            }
            let before = context.clock.now();
            if let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.is_due(done)) {
                let state = match done {
                    0 => None,
                    _ => Some(self.searcher.save()?),
                };
                let around = (context.clock, &context.interrupt);
                ahead.look(state.as_deref(), &self.candidates, of, &self.evaluator, around);
            }
            // Training at a rung may be interrupted; the command is then asked for again.
            let state = match self.evaluator.rungs {
                Some(_) => Some(self.searcher.save()?),
                None => None,
            };
            // One at a time: what a searcher proposes then never depends on how many candidates
            // are wanted, nor on where a run was interrupted.
            let Some(command) = self.searcher.suggest(1)?.pop() else {
                let state = self.searcher.save()?;
                self.store(state, context.clock.now().saturating_sub(stored))?;
                return Ok(());
            };
            let Some(candidate) = self.evaluate(done, command, context)? else {
                if let Some(state) = state {
                    self.store(state, context.clock.now().saturating_sub(stored))?;
                }
                return Err(EngineError::Interrupted { done, of, unit: "candidates" });
            };
            let outcome = self.outcome(&candidate);
            self.searcher.report(&[outcome])?;
            speed.add(None, context.clock.now().saturating_sub(before).as_secs_f64());
            let images = self.scorer.image_count();
            let progress = progress(done + 1, of, &candidate.state, images, &speed);
            context.observer.candidate_scored(&progress);
            // The first of a run is told of; the store has the others.
            if let CandidateState::Failed(error) = &candidate.state
                && !std::mem::replace(&mut told, true)
            {
                context.observer.message(&format!("candidate {done} has no score: {error}"));
            }
            self.candidates.push(candidate);
        }
    }

    /// Stores the candidates since the last time with the searcher's `state` after them.
    fn store(&mut self, state: Vec<u8>, spent: Duration) -> Result<(), EngineError> {
        let new = &self.candidates[self.stored..];
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(()) };
        self.study.store_mut().transaction(|writer| {
            new.iter().try_for_each(|candidate| writer.add_candidate(candidate))?;
            writer.set(Meta::Searcher, state)?;
            writer.add_timing(Timed::Score, first.id, last.id, spent)
        })?;
        self.stored = self.candidates.len();
        Ok(())
    }

    /// Evaluates what a command asks for; nothing where training was interrupted.
    fn evaluate(
        &mut self,
        id: u64,
        command: Command,
        context: &Context<'_>,
    ) -> Result<Option<Candidate>, EngineError> {
        let Self { study, generator, executor, scorer, evaluator, ahead, candidates, .. } = self;
        let earlier = |at: usize| candidates.get(at)?.arch.as_ref();
        let asked = match asked(evaluator.lowering.space, id, &command, earlier)? {
            Ok(asked) => asked,
            Err(source @ SpaceError::Broken(_)) => {
                return Err(EngineError::Space { what: format!("candidate {id}"), source });
            }
            Err(error) => {
                let state = CandidateState::Failed(error.to_string());
                return Ok(Some(Candidate { id, command, arch: None, state }));
            }
        };
        if !evaluator.has(asked.rung) {
            let config = study.config();
            let reason = format!(
                "'{}' asks for rung {}, but search.rungs has {} of them; add the training steps of \
                 every rung, such as --set search.rungs=[100,1000]",
                config.searcher.id,
                asked.rung,
                config.search.rungs.len()
            );
            return Err(EngineError::Command { candidate: id, reason });
        }
        let key = asked.key();
        let state = match evaluator.known.get(&key) {
            Some(state) => state.clone(),
            None => {
                let foreseen = ahead.as_mut().and_then(|ahead| ahead.take(id, &key));
                let score = |Lowered { network, variants }: &Lowered| {
                    scorer.score_with(network, variants, &mut **generator, &mut **executor)
                };
                let state = match foreseen {
                    Some(state) => Some(state),
                    None => {
                        let what = || format!("candidate {id}");
                        evaluator.evaluate(&asked, what, &context.interrupt, score)?
                    }
                };
                let Some(state) = state else { return Ok(None) };
                evaluator.known.insert(key, state.clone());
                state
            }
        };
        Ok(Some(Candidate { id, command, arch: Some(asked.arch), state }))
    }

    fn outcome(&self, candidate: &Candidate) -> Outcome {
        let objective = self.study.config().search.objective;
        let (objective, multiply_adds) = match &candidate.state {
            CandidateState::Scored(score) => {
                (objective.cost(score.loss, score.accuracy), score.multiply_adds)
            }
            CandidateState::Failed(_) => (f64::INFINITY, 0),
        };
        let rung = candidate.rung();
        Outcome { candidate: CandidateId(candidate.id), objective, multiply_adds, rung }
    }
}

/// Progress after a candidate.
fn progress(done: u64, of: u64, state: &CandidateState, images: usize, speed: &Speed) -> Progress {
    let loss = match state {
        CandidateState::Scored(score) => Some(score.loss),
        CandidateState::Failed(_) => None,
    };
    Progress {
        unit: "candidates",
        done,
        of,
        loss,
        images_per_second: images as f64 / speed.seconds,
        seconds_left: of.saturating_sub(done) as f64 * speed.seconds,
    }
}
