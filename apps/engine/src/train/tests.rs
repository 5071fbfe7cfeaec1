//! Training of the toy generator: steps, budgets, evaluations and what is selected.

use super::*;
use crate::config::Config;
use crate::observer::{Interrupt, Observer, Silent};
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
    let report = train(&mut study, &mut toy::parts(config), toy::spares(2), &mut context, budget);
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
    assert_eq!((study.training_steps().unwrap().len(), report.unwrap().generator.skipped), (32, 0));
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

impl Observer for SlowDown<'_> {
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
    let report =
        train(&mut study, &mut toy::parts(&config), toy::spares(2), &mut context, budget).unwrap();
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
    let error = train(&mut study, &mut parts, toy::spares(2), &mut context, None).unwrap_err();
    assert!(matches!(error, EngineError::OtherImages { .. }), "{error:?}");
}

const EVALUATED: [&str; 3] = ["train.steps=7", "train.evaluate_every=3", "train.probes=6"];

#[test]
fn evaluations_come_at_every_multiple_and_at_the_end_and_change_no_training() {
    let (plain, with) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (without, report) = train_in(plain.path(), &toy::config(&EVALUATED[..1]), None);
    assert_eq!(report.unwrap().generator.selection, None);
    let (study, report) = train_in(with.path(), &toy::config(&EVALUATED), None);
    assert_eq!(study.training_steps().unwrap(), without.training_steps().unwrap());
    let values = |study: &Study| study.checkpoint().unwrap().unwrap().state;
    assert_eq!(values(&study), values(&without));

    let evaluations = study.evaluations().unwrap();
    let steps: Vec<u64> = evaluations.iter().map(|evaluation| evaluation.step).collect();
    assert_eq!(steps, [3, 6, 7]);
    let hashes = |evaluation: &Evaluation| -> Vec<String> {
        evaluation.probes.iter().map(|probe| probe.hash.clone()).collect()
    };
    assert!(
        evaluations.iter().all(|one| one.scored() == 6 && hashes(one) == hashes(&evaluations[0]))
    );
    let stable: Vec<bool> = evaluations.iter().map(|one| one.stability.is_some()).collect();
    assert_eq!(stable, [false, true, true]);
    assert!(evaluations[2].loss < evaluations[0].loss, "{evaluations:?}");
    let selection = report.unwrap().generator.selection.unwrap();
    assert_eq!((selection.by, selection.step, selection.evaluations), (Selection::Last, 7, 3));
    assert_eq!((selection.loss, selection.stopped_early), (evaluations[2].loss, false));
}

/// Training that soon gets worse.
const WORSE: [&str; 4] =
    ["train.steps=12", "train.evaluate_every=1", "train.probes=6", "train.learning_rate=2"];

/// How probes are trained briefly.
const BRIEF: [&str; 2] = ["search.rung_generator=toy-generator", "train.probe_steps=3"];

/// The losses of all probes by the generator that scores candidates of `study`.
fn probe_losses(study: &Study) -> Vec<Option<f64>> {
    let mut parts = toy::parts(study.config());
    restore(study, &mut parts).unwrap();
    let probes = Probes::draw(study.config(), &*parts.space, parts.task()).unwrap();
    let search = &study.config().search;
    let mut scorer = Scorer::of(&parts.data, search);
    let (generator, executor) = (&mut *parts.generator, &mut *parts.executor);
    let evaluation = probes.evaluate(0, None, &[], &mut scorer, generator, executor).unwrap();
    evaluation.probes.into_iter().map(|probe| probe.loss).collect()
}

#[test]
fn the_selected_state_is_the_trained_generator() {
    for select in ["last", "validation_loss", "stability", "brief_training"] {
        let dir = tempfile::tempdir().unwrap();
        let flag = format!("train.select={select}");
        let (study, report) =
            train_in(dir.path(), &toy::config(&[&WORSE[..], &BRIEF, &[&flag]].concat()), None);
        let (evaluations, report) = (study.evaluations().unwrap(), report.unwrap().generator);
        assert_eq!((evaluations.len(), report.steps), (12, 12));
        let goodness = |evaluation: &&Evaluation| match select {
            "last" => Some(evaluation.step as f64),
            "stability" => evaluation.stability,
            "brief_training" => evaluation.agreement,
            _ => evaluation.loss.map(|loss| -loss),
        };
        let best =
            evaluations.iter().rev().max_by(|a, b| goodness(a).partial_cmp(&goodness(b)).unwrap());
        let best = best.unwrap();
        let selection = report.selection.unwrap();
        assert_eq!((selection.step, selection.loss), (best.step, best.loss), "{select}");
        assert_eq!(select == "last", best.step == 12, "{select}: step {}", best.step);
        assert_eq!(select == "last", study.selected().unwrap().is_none());
        let losses: Vec<Option<f64>> = best.probes.iter().map(|probe| probe.loss).collect();
        assert_eq!(probe_losses(&study), losses, "{select}");
    }
}

#[test]
fn probes_are_trained_once_whatever_the_threads_and_interrupts() {
    let flags = [&EVALUATED[..], &BRIEF, &["train.select=brief_training"]].concat();
    let config = toy::config(&flags);
    let trained = |study: &Study| study.store().trained_probes().unwrap();
    let run = |study: &mut Study, threads, interrupt| {
        let clock = Ticks::default();
        let mut context = Context { observer: &mut Silent, interrupt, clock: &clock };
        train(study, &mut toy::parts(&config), toy::spares(threads), &mut context, None)
    };
    let dir = tempfile::tempdir().unwrap();
    let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
    run(&mut study, 2, Interrupt::default()).unwrap();
    let (probes, evaluations) = (trained(&study), study.evaluations().unwrap());
    assert_eq!(probes.len(), 6);
    for evaluation in &evaluations {
        let pairs = evaluation.probes.iter().zip(probes.values());
        assert!(pairs.clone().all(|(one, other)| one.hash == other.hash && one.loss != other.loss));
        assert!(evaluation.agreement.is_some(), "{evaluation:?}");
    }

    // An interrupt comes before the first; what is stored already is not trained again.
    let other = tempfile::tempdir().unwrap();
    let mut halfway = Study::open(other.path(), &config, Opening::Create).unwrap();
    let interrupt = Interrupt::default();
    interrupt.request();
    let error = run(&mut halfway, 1, interrupt).unwrap_err();
    assert!(
        matches!(error, EngineError::Interrupted { done: 0, of: 6, unit: "probes" }),
        "{error}"
    );
    let mut known = probes.clone();
    known.get_mut(&4).unwrap().loss = Some(9.0);
    halfway
        .store_mut()
        .transaction(|writer| {
            writer.add_trained_probe(1, &known[&1])?;
            writer.add_trained_probe(4, &known[&4])
        })
        .unwrap();
    run(&mut halfway, 1, Interrupt::default()).unwrap();
    assert_eq!(trained(&halfway), known);
    let losses = |study: &Study| -> Vec<_> {
        study.evaluations().unwrap().into_iter().map(|one| (one.loss, one.probes)).collect()
    };
    assert_eq!(losses(&halfway), losses(&study));
}

#[test]
fn a_generator_for_probes_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let flags =
        [&EVALUATED[..], &["search.rung_generator=absent", "train.select=brief_training"]].concat();
    let (_, report) = train_in(dir.path(), &toy::config(&flags), None);
    let error = report.unwrap_err().to_string();
    assert!(error.contains("search.rung_generator") && error.contains("absent"), "{error}");
}

#[test]
fn training_that_gets_no_better_ends_early() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [&WORSE[..], &["train.select=validation_loss", "train.patience=2"]].concat();
    let (study, report) = train_in(dir.path(), &toy::config(&flags), None);
    let report = report.unwrap().generator;
    let selection = report.selection.unwrap();
    assert!(selection.stopped_early && report.steps < 12, "{selection:?}");
    assert_eq!(report.steps, selection.step + 2);
    assert_eq!(study.steps().unwrap(), report.steps);
    assert_eq!(study.training_steps().unwrap().len() as u64, report.steps);
    // It is over: a second run trains no more.
    drop(study);
    let (study, again) = train_in(dir.path(), &toy::config(&flags), None);
    assert_eq!(again.unwrap().generator.steps, report.steps);
    let (losses, best) = (probe_losses(&study), selection.step as usize - 1);
    let evaluations = study.evaluations().unwrap();
    assert!(losses.into_iter().eq(evaluations[best].probes.iter().map(|probe| probe.loss)));
}

#[test]
fn a_budget_counts_the_time_of_evaluations() {
    let steps = |flags: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let flags = [&["train.checkpoint_seconds=1000"], flags].concat();
        let (study, report) =
            train_in(dir.path(), &toy::config(&flags), Some(Duration::from_secs(200)));
        report.unwrap();
        study.steps().unwrap()
    };
    // On this clock a candidate takes a third of a second, so that ten steps cost twenty seconds.
    let (plain, evaluated) = (steps(&[]), steps(&["train.evaluate_every=10", "train.probes=30"]));
    assert!((plain / 2 - 12..=plain / 2).contains(&evaluated), "{plain} {evaluated}");
}

#[test]
fn a_selected_state_that_is_damaged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = toy::config(&[&WORSE[..], &["train.select=validation_loss"]].concat());
    let (study, report) = train_in(dir.path(), &config, None);
    let best = report.unwrap().generator.selection.unwrap().step;
    let path = dir.path().join("selected.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let refused = || restore(&study, &mut toy::parts(&config)).unwrap_err().to_string();
    std::fs::write(&path, &whole[..100]).unwrap();
    let error = refused();
    assert!(error.contains("selected.safetensors: damaged"), "{error}");
    assert!(error.contains("delete generator.safetensors beside it"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(refused().contains(&format!("not that after {best} steps")));
    drop(study);
    std::fs::remove_file(dir.path().join("generator.safetensors")).unwrap();
    train_in(dir.path(), &config, None).1.unwrap();
    assert!(std::fs::read(&path).unwrap() == whole);
}
