//! Scores candidates with a trained generator and ranks them (section 5.1).

use std::collections::BTreeMap;
use std::time::Duration;

use ghnas_core::{
    Architecture, CandidateId, Command, Evolve, Network, Outcome, Phase, SearchSpace, SpaceError,
    Task,
};

use crate::config::Objective;
use crate::error::EngineError;
use crate::observer::{Context, Progress};
use crate::parts::Parts;
use crate::report::{GeneratorReport, Ranked, Seconds, StudyReport};
use crate::scorer::{Score, Scorer};
use crate::selection::SelectionReport;
use crate::speed::Speed;
use crate::store::{Candidate, CandidateState, Meta, Phase as Timed};
use crate::study::Study;
use crate::train::{restore, train};

/// Candidates are stored at least this often; results do not depend on it.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// Steps over which the generator's final loss is averaged.
const FINAL_STEPS: usize = 100;

/// Trains the generator of `study` unless it is trained, scores candidates until there are enough,
/// and ranks them. `budget` is for both together; see [`train()`].
///
/// # Errors
/// [`EngineError::Interrupted`] after an interrupt, with the state saved; otherwise what failed.
pub fn search(
    study: &mut Study,
    parts: &mut Parts,
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    train(study, parts, context, budget)?;
    score(study, parts, context, budget)
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
    context: &mut Context<'_>,
    budget: Option<Duration>,
) -> Result<StudyReport, EngineError> {
    let scorer = open_scorer(study, parts)?;
    restore_trained(study, parts)?;
    if let Some(state) = study.store().bytes(Meta::Searcher)? {
        parts.searcher.load(&state)?;
    }
    let spent = study.store().seconds(Timed::Train)? + study.store().seconds(Timed::Score)?;
    let budget = budget.map(|budget| budget.saturating_sub(Duration::from_secs_f64(spent)));
    Search::resume(study, parts, scorer)?.run(context, budget)?;
    report(study, parts)
}

/// Scores `archs` with the trained generator of `study`: the best first, those without a score
/// last. Nothing is stored.
///
/// # Errors
/// [`EngineError::NotTrained`] where the generator is not trained to the end; otherwise what failed.
/// What is wrong with one architecture is in its row.
pub fn rank(
    study: &Study,
    parts: &mut Parts,
    context: &mut Context<'_>,
    archs: Vec<Architecture>,
) -> Result<Vec<Ranked>, EngineError> {
    let config = &study.config().search;
    let mut scorer = Scorer::new(&parts.data, config.images, config.batch);
    restore_trained(study, parts)?;
    let of = archs.len() as u64;
    let (mut known, mut speed) = (BTreeMap::new(), Speed::default());
    let mut rows = Vec::with_capacity(archs.len());
    for (done, arch) in (0..).zip(archs) {
        if context.interrupt.is_requested() {
            return Err(EngineError::Interrupted { done, of, unit: "architectures" });
        }
        let what = || format!("architecture {done}");
        let started = context.clock.now();
        let hash = arch.hash().to_string();
        let state = match known.get(&hash) {
            Some(state) => Clone::clone(state),
            None => score_one(parts, &mut scorer, &arch, what)?,
        };
        known.insert(hash, state.clone());
        speed.add(None, context.clock.now().saturating_sub(started).as_secs_f64());
        let progress = progress(done + 1, of, &state, scorer.image_count(), &speed);
        context.observer.candidate_scored(&progress);
        rows.push(ranked(arch, &state));
    }
    sort(&mut rows, config.objective);
    Ok(rows)
}

/// The results of `study` so far.
pub(crate) fn report(study: &Study, parts: &Parts) -> Result<StudyReport, EngineError> {
    let (store, config) = (study.store(), study.config());
    let steps = study.checkpoint()?.map_or(0, |checkpoint| checkpoint.step);
    let mut candidates = study.candidates()?;
    // The study may hold more, from a search for more candidates.
    candidates.retain(|candidate| candidate.id < config.search.candidates);
    let failed = |candidate: &&Candidate| matches!(candidate.state, CandidateState::Failed(_));
    let failed = candidates.iter().filter(failed).count() as u64;
    let count = candidates.len() as u64;

    let mut distinct = BTreeMap::new();
    for Candidate { arch, state, .. } in candidates {
        if let Some(arch) = arch {
            let row = ranked(arch, &state);
            distinct.entry(row.hash.clone()).or_insert(row);
        }
    }
    let distinct_count = distinct.len() as u64;
    let mut rows: Vec<Ranked> = distinct.into_values().filter(|row| row.error.is_none()).collect();
    sort(&mut rows, config.search.objective);
    let accuracies: Vec<f64> = rows.iter().filter_map(|row| row.accuracy).collect();
    let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
    rows.truncate(config.search.top);
    Ok(StudyReport {
        study: study.dir().into(),
        data: parts.data.source().to_string(),
        images: config.search.images,
        generator: GeneratorReport {
            id: config.generator.id.clone(),
            parameters: parts.generator.parameter_count() as u64,
            steps,
            skipped: store.skipped_steps()?,
            final_loss: store.final_loss(FINAL_STEPS)?,
            selection: SelectionReport::of(study, steps)?,
        },
        candidates: count,
        distinct: distinct_count,
        failed,
        mean_accuracy: (!accuracies.is_empty()).then_some(mean),
        best_accuracy: accuracies.into_iter().reduce(f64::max),
        top: rows,
        seconds: Seconds {
            train: store.seconds(Timed::Train)?,
            score: store.seconds(Timed::Score)?,
        },
    })
}

/// A scorer on the images that the study was begun with.
pub(crate) fn open_scorer(study: &mut Study, parts: &Parts) -> Result<Scorer, EngineError> {
    let config = &study.config().search;
    let scorer = Scorer::new(&parts.data, config.images, config.batch);
    let images = scorer.fingerprint();
    match study.store().text(Meta::Images)? {
        Some(known) if known == images => {}
        Some(_) => return Err(EngineError::OtherImages { dir: study.dir().into() }),
        None => study.store_mut().transaction(|writer| writer.set(Meta::Images, images))?,
    }
    Ok(scorer)
}

fn restore_trained(study: &Study, parts: &mut Parts) -> Result<(), EngineError> {
    let (step, steps) = (restore(study, parts)?, study.steps()?);
    if step < steps {
        return Err(EngineError::NotTrained { dir: study.dir().into(), step, steps });
    }
    Ok(())
}

/// A search between two candidates.
struct Search<'a> {
    study: &'a mut Study,
    parts: &'a mut Parts,
    scorer: Scorer,
    candidates: Vec<Candidate>,
    /// States by architecture hash, so that none is scored twice.
    known: BTreeMap<String, CandidateState>,
    /// Candidates that are in the store.
    stored: usize,
}

impl<'a> Search<'a> {
    fn resume(
        study: &'a mut Study,
        parts: &'a mut Parts,
        scorer: Scorer,
    ) -> Result<Self, EngineError> {
        let candidates = study.candidates()?;
        let known = candidates.iter().filter_map(|candidate| {
            let arch = candidate.arch.as_ref()?;
            Some((arch.hash().to_string(), candidate.state.clone()))
        });
        let (known, stored) = (known.collect(), candidates.len());
        Ok(Self { study, parts, scorer, candidates, known, stored })
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
                self.store(now.saturating_sub(stored))?;
                stored = now;
            }
            if over {
                return Ok(());
            }
            if interrupted {
                return Err(EngineError::Interrupted { done, of, unit: "candidates" });
            }
            if late && done > 0 {
                let planned = |writer: &crate::store::Writer<'_>| {
                    writer.set(Meta::PlannedCandidates, done as i64)
                };
                self.study.store_mut().transaction(planned)?;
                let text = format!("the time is over; {done} of {of} candidates are scored");
                context.observer.message(&text);
                return Ok(());
            }
            // One at a time: what a searcher proposes then never depends on how many candidates
            // are wanted, nor on where a run was interrupted.
            let Some(command) = self.parts.searcher.suggest(1)?.pop() else {
                self.store(context.clock.now().saturating_sub(stored))?;
                return Ok(());
            };
            let before = context.clock.now();
            let candidate = self.evaluate(done, command)?;
            let outcome = self.outcome(&candidate);
            self.parts.searcher.report(&[outcome])?;
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

    /// Stores the candidates since the last time with the searcher's state after them.
    fn store(&mut self, spent: Duration) -> Result<(), EngineError> {
        let new = &self.candidates[self.stored..];
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(()) };
        let state = self.parts.searcher.save()?;
        self.study.store_mut().transaction(|writer| {
            new.iter().try_for_each(|candidate| writer.add_candidate(candidate))?;
            writer.set(Meta::Searcher, state)?;
            writer.add_timing(Timed::Score, first.id, last.id, spent)
        })?;
        self.stored = self.candidates.len();
        Ok(())
    }

    fn evaluate(&mut self, id: u64, command: Command) -> Result<Candidate, EngineError> {
        let arch = match self.architecture(id, &command)? {
            Ok(arch) => arch,
            Err(source @ SpaceError::Broken(_)) => {
                return Err(EngineError::Space { what: format!("candidate {id}"), source });
            }
            Err(error) => {
                let state = CandidateState::Failed(error.to_string());
                return Ok(Candidate { id, command, arch: None, state });
            }
        };
        let hash = arch.hash().to_string();
        let state = match self.known.get(&hash) {
            Some(state) => state.clone(),
            None => {
                let what = || format!("candidate {id}");
                score_one(self.parts, &mut self.scorer, &arch, what)?
            }
        };
        self.known.insert(hash, state.clone());
        Ok(Candidate { id, command, arch: Some(arch), state })
    }

    /// The architecture that a command asks for; the inner error is the candidate's own.
    fn architecture(
        &self,
        id: u64,
        command: &Command,
    ) -> Result<Result<Architecture, SpaceError>, EngineError> {
        let space = &self.parts.space;
        let refuse = |reason: String| EngineError::Command { candidate: id, reason };
        let evolve = || -> Result<&dyn Evolve, EngineError> {
            let none = || refuse(format!("space '{}' has no mutation or crossover", space.id()));
            space.evolve().ok_or_else(none)
        };
        let parent = |parent: CandidateId| {
            let candidate = usize::try_from(parent.0).ok().and_then(|i| self.candidates.get(i));
            let none = || refuse(format!("candidate {} has no architecture", parent.0));
            candidate.and_then(|candidate| candidate.arch.as_ref()).ok_or_else(none)
        };
        Ok(match command {
            Command::Sample { seed } => space.sample(Phase::Score, *seed),
            Command::Mutate { parent: of, seed } => evolve()?.mutate(parent(*of)?, *seed),
            Command::Cross { first, second, seed } => {
                evolve()?.cross(parent(*first)?, parent(*second)?, *seed)
            }
            Command::Evaluate { arch } => {
                space.validate(arch).map(|()| arch.clone()).map_err(SpaceError::from)
            }
            Command::Promote { .. } => {
                return Err(refuse("candidates are evaluated at one fidelity alone".into()));
            }
        })
    }

    fn outcome(&self, candidate: &Candidate) -> Outcome {
        let objective = self.study.config().search.objective;
        let (objective, multiply_adds) = match &candidate.state {
            CandidateState::Scored(score) => {
                (objective.cost(score.loss, score.accuracy), score.multiply_adds)
            }
            CandidateState::Failed(_) => (f64::INFINITY, 0),
        };
        Outcome { candidate: CandidateId(candidate.id), objective, multiply_adds, rung: 0 }
    }
}

/// Lowers and scores one architecture. The error is one of the device, or of a space or generator
/// that is broken; the architecture's own is in the state.
fn score_one(
    parts: &mut Parts,
    scorer: &mut Scorer,
    arch: &Architecture,
    what: impl Fn() -> String,
) -> Result<CandidateState, EngineError> {
    let network = match lower_one(&*parts.space, arch, parts.task(), &what)? {
        Ok(network) => network,
        Err(words) => return Ok(CandidateState::Failed(words)),
    };
    match scorer.score(&network, &mut *parts.generator, &mut *parts.executor) {
        Ok(score) => Ok(CandidateState::Scored(score)),
        Err(error) => Ok(CandidateState::Failed(error.of_network(what)?)),
    }
}

/// The network of an architecture, or what is wrong with it in words. The error is one of a space
/// that is broken.
pub(crate) fn lower_one(
    space: &dyn SearchSpace,
    arch: &Architecture,
    task: Task,
    what: impl FnOnce() -> String,
) -> Result<Result<Network, String>, EngineError> {
    match space.lower(arch, task) {
        Ok(network) => Ok(Ok(network)),
        Err(source @ SpaceError::Broken(_)) => Err(EngineError::Space { what: what(), source }),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Progress after a candidate or architecture.
fn progress(done: u64, of: u64, state: &CandidateState, images: usize, speed: &Speed) -> Progress {
    let loss = match state {
        CandidateState::Scored(score) => Some(score.loss),
        CandidateState::Failed(_) => None,
    };
    Progress {
        done,
        of,
        loss,
        images_per_second: images as f64 / speed.seconds,
        seconds_left: of.saturating_sub(done) as f64 * speed.seconds,
    }
}

fn ranked(arch: Architecture, state: &CandidateState) -> Ranked {
    let (score, error): (Option<&Score>, _) = match state {
        CandidateState::Scored(score) => (Some(score), None),
        CandidateState::Failed(error) => (None, Some(error.clone())),
    };
    Ranked {
        hash: arch.hash().to_string(),
        loss: score.map(|score| score.loss),
        accuracy: score.map(|score| score.accuracy),
        params: score.map(|score| score.params),
        multiply_adds: score.map(|score| score.multiply_adds),
        arch,
        error,
    }
}

/// Sorts by the objective, then by hash; rows without a score come last.
fn sort(rows: &mut [Ranked], objective: Objective) {
    let cost = |row: &Ranked| match (row.loss, row.accuracy) {
        (Some(loss), Some(accuracy)) => objective.cost(loss, accuracy),
        _ => f64::INFINITY,
    };
    rows.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then_with(|| a.hash.cmp(&b.hash)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::observer::{Interrupt, Silent};
    use crate::study::Opening;
    use crate::toy::{self, Ticks};

    /// A finished study of toys with what came of it.
    fn searched(flags: &[&str]) -> (tempfile::TempDir, Study, StudyReport) {
        let (dir, config) = (tempfile::tempdir().unwrap(), toy::config(flags));
        let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
        let report = with_context(|context| {
            search(&mut study, &mut toy::parts(&config), context, None).unwrap()
        });
        (dir, study, report)
    }

    fn with_context<T>(run: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        run(&mut Context { observer: &mut Silent, interrupt, clock: &clock })
    }

    #[test]
    fn the_best_come_first_by_the_objective() {
        for (objective, costs) in [
            ("loss", (|row| row.loss.unwrap()) as fn(&Ranked) -> f64),
            ("accuracy", |row| -row.accuracy.unwrap()),
        ] {
            let flags = [&format!("search.objective={objective}"), "search.candidates=40"];
            let (_dir, study, report) = searched(&flags);
            assert_eq!((report.candidates, report.failed, report.top.len()), (40, 0, 10));
            assert!(report.distinct < 40, "with two operations some candidates are equal");
            let keys = report.top.iter().map(|row| (costs(row), row.hash.clone()));
            assert!(keys.is_sorted());
            let best = study.candidates().unwrap().into_iter().filter_map(|c| match c.state {
                CandidateState::Scored(score) => Some(score.accuracy),
                CandidateState::Failed(_) => None,
            });
            assert_eq!(report.best_accuracy, best.reduce(f64::max));
        }
    }

    #[test]
    fn the_report_has_the_keys_of_the_contract() {
        let json = serde_json::to_value(searched(&[]).2).unwrap();
        for key in ["study", "generator", "candidates", "top", "seconds", "best_accuracy"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        for key in ["arch", "hash", "loss", "accuracy", "params", "multiply_adds"] {
            assert!(json["top"][0].get(key).is_some(), "top[0].{key}");
        }
        for key in ["id", "parameters", "steps", "skipped", "final_loss"] {
            assert!(json["generator"].get(key).is_some(), "generator.{key}");
        }
        assert!(json["seconds"]["train"].as_f64() > Some(0.0));
        assert!(json["seconds"]["score"].as_f64() > Some(0.0));
    }

    #[test]
    fn a_candidate_that_fails_is_recorded_and_passed_over() {
        let ops = "space.settings.ops=[\"wide\", \"narrow\", \"broken\"]";
        let (_dir, study, report) = searched(&["search.candidates=40", ops]);
        assert!((1..40).contains(&report.failed), "{}", report.failed);
        for candidate in study.candidates().unwrap() {
            let broken = candidate.arch.unwrap().to_string().contains("broken");
            match candidate.state {
                CandidateState::Scored(_) => assert!(!broken),
                CandidateState::Failed(reason) => {
                    assert!(broken && reason == "the loss is not finite", "{reason}");
                }
            }
        }
    }

    #[test]
    fn a_searcher_asks_a_space_for_what_it_has_only() {
        let config = toy::config(&["searcher.id=toy-evolution", "space.settings.evolves=false"]);
        let dir = tempfile::tempdir().unwrap();
        let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
        let error = with_context(|context| {
            search(&mut study, &mut toy::parts(&config), context, None).unwrap_err()
        });
        assert_eq!(
            error.to_string(),
            "searcher, candidate 2: space 'toy' has no mutation or crossover"
        );
    }

    #[test]
    fn a_search_lasts_no_longer_than_its_budget() {
        let config = toy::config(&["search.candidates=1000", "train.checkpoint_seconds=1000"]);
        let dir = tempfile::tempdir().unwrap();
        let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
        let budget = Some(Duration::from_secs(100));
        let report = with_context(|context| {
            search(&mut study, &mut toy::parts(&config), context, budget).unwrap()
        });
        assert!((1..100).contains(&report.candidates), "{}", report.candidates);
        assert_eq!(study.candidates_wanted().unwrap(), report.candidates);
        assert!(report.seconds.train + report.seconds.score < 110.0, "{:?}", report.seconds);
    }

    #[test]
    fn given_architectures_are_ranked_as_the_search_ranks_its_own() {
        let (_dir, study, report) = searched(&[]);
        let mut archs: Vec<Architecture> =
            report.top.iter().rev().map(|row| row.arch.clone()).collect();
        archs.insert(1, toy::chain(&["foreign"]));
        archs.push(archs[0].clone());
        let mut parts = toy::parts(study.config());
        let rows = with_context(|context| rank(&study, &mut parts, context, archs)).unwrap();
        let (failed, scored) = rows.split_last().unwrap();
        assert!(failed.error.as_deref().unwrap().contains("it is foreign"), "{failed:?}");
        let mut once = scored.to_vec();
        once.dedup();
        assert_eq!((once, scored.len()), (report.top.clone(), report.top.len() + 1));
    }

    #[test]
    fn nothing_is_scored_with_a_generator_that_is_not_trained() {
        let (dir, config): (_, Config) = (tempfile::tempdir().unwrap(), toy::config(&[]));
        let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
        let mut parts = toy::parts(&config);
        let error = with_context(|context| score(&mut study, &mut parts, context, None));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("at step 0 of 6"), "{error}");
    }
}
