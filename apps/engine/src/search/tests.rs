//! Laws of a search, on toys.

use std::collections::BTreeMap;

use ghnas_core::Architecture;

use super::*;
use crate::config::Config;
use crate::observer::{Clock, Interrupt, Silent};
use crate::report::Ranked;
use crate::study::Opening;
use crate::toy::{self, Ticks};

/// A finished study of toys with what came of it.
fn searched(flags: &[&str]) -> (tempfile::TempDir, Study, StudyReport) {
    let (dir, config) = (tempfile::tempdir().unwrap(), toy::config(flags));
    let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
    let report = with_context(|context| {
        search(&mut study, &mut toy::parts(&config), toy::spares(1), context, None).unwrap()
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
        search(&mut study, &mut toy::parts(&config), toy::spares(1), context, None).unwrap_err()
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
        search(&mut study, &mut toy::parts(&config), toy::spares(1), context, budget).unwrap()
    });
    assert!((1..100).contains(&report.candidates), "{}", report.candidates);
    assert_eq!(study.candidates_wanted().unwrap(), report.candidates);
    assert!(report.seconds.train + report.seconds.score < 110.0, "{:?}", report.seconds);
}

#[test]
fn given_architectures_are_ranked_as_the_search_ranks_its_own() {
    let variants = "search.variants=[{ settings = { repeats = 2 }, share = 0.5, images = 5 }]";
    let [plain, both] = [&[][..], &[variants]].map(ranked_as_searched);
    assert!(plain.iter().zip(&both).all(|(plain, both)| plain.loss != both.loss));
}

fn ranked_as_searched(flags: &[&str]) -> Vec<Ranked> {
    let (_dir, study, report) = searched(flags);
    let mut archs: Vec<Architecture> =
        report.top.iter().rev().map(|row| row.arch.clone()).collect();
    archs.insert(1, toy::chain(&["foreign"]));
    archs.push(archs[0].clone());
    let mut parts = toy::parts(study.config());
    let rows = with_context(|context| {
        rank(&study, study.config(), &mut parts, toy::spares(2), context, archs)
    });
    let rows = rows.unwrap();
    let (failed, scored) = rows.split_last().unwrap();
    assert!(failed.error.as_deref().unwrap().contains("it is foreign"), "{failed:?}");
    let mut once = scored.to_vec();
    once.dedup();
    assert_eq!((once, scored.len()), (report.top.clone(), report.top.len() + 1));
    report.top
}

#[test]
fn nothing_is_scored_with_a_generator_that_is_not_trained() {
    let (dir, config): (_, Config) = (tempfile::tempdir().unwrap(), toy::config(&[]));
    let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
    let mut parts = toy::parts(&config);
    let error =
        with_context(|context| score(&mut study, &mut parts, toy::spares(1), context, None));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("at step 0 of 6"), "{error}");
}

/// A command, the candidate's rung and what came of it, for each candidate.
fn stored(study: &Study) -> Vec<(Command, u32, CandidateState)> {
    let row = |candidate: Candidate| {
        let rung = candidate.rung();
        (candidate.command, rung, candidate.state)
    };
    study.candidates().unwrap().into_iter().map(row).collect()
}

/// Runs a search with as many candidates at once.
fn searched_with(threads: usize, config: &Config) -> (tempfile::TempDir, Study, StudyReport) {
    let dir = tempfile::tempdir().unwrap();
    let mut study = Study::open(dir.path(), config, Opening::Create).unwrap();
    let mut parts = toy::parts(config);
    let report = with_context(|context| {
        search(&mut study, &mut parts, toy::spares(threads), context, None).unwrap()
    });
    (dir, study, report)
}

const HALVING: [&str; 6] = [
    "space.settings.nodes=9",
    "searcher.id=toy-halving",
    "search.rungs=[3, 40]",
    "search.rung_generator=toy-generator",
    "search.rung_learning_rate=0.2",
    "search.candidates=20",
];

#[test]
fn scoring_ahead_changes_no_result() {
    let broken = "space.settings.ops=[\"wide\", \"narrow\", \"broken\"]";
    let many = ["search.candidates=60", "space.settings.nodes=7", broken];
    let evolution = [&many[..], &["searcher.id=toy-evolution"]].concat();
    for flags in [&many[..], &evolution, &HALVING] {
        let config = toy::config(flags);
        let (_one_dir, one, report) = searched_with(1, &config);
        let (_dir, study, ahead) = searched_with(3, &config);
        assert!(stored(&study) == stored(&one), "{flags:?}");
        assert_eq!((ahead.top, ahead.front), (report.top, report.front));
        let state = |study: &Study| study.store().bytes(Meta::Searcher).unwrap();
        assert_eq!(state(&study), state(&one));
    }
}

#[test]
fn what_is_promoted_is_trained_and_comes_first() {
    let (_dir, study, report) = searched_with(2, &toy::config(&HALVING));
    let rows = stored(&study);
    let rungs: Vec<u32> = rows.iter().map(|(_, rung, _)| *rung).collect();
    // The searcher ends by itself.
    assert_eq!(rungs, [0, 0, 0, 0, 1, 1, 2]);
    assert_eq!(report.top.iter().map(|row| row.rung).next(), Some(2));
    // By rung: some samples are the same architecture.
    let mut losses = BTreeMap::new();
    for candidate in study.candidates().unwrap() {
        let arch = candidate.arch.as_ref().unwrap();
        if let CandidateState::Scored(score) = candidate.state
            && arch.hash().to_string() == report.top[0].hash
        {
            losses.insert(candidate.rung(), score.loss);
        }
    }
    // After 3 steps, and after 40.
    let (briefly, longer) = (losses[&1], losses[&2]);
    assert!(longer < briefly, "{losses:?}");
    assert_eq!(report.top[0].loss, Some(longer));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["top"][0]["rung"], 2);
    assert!(json["front"][0].get("rung").is_none());
}

#[test]
fn a_rung_that_the_study_lacks_is_named_with_key_and_searcher() {
    let config = toy::config(&[&HALVING[..], &["search.rungs=[3]"]].concat());
    let dir = tempfile::tempdir().unwrap();
    let mut study = Study::open(dir.path(), &config, Opening::Create).unwrap();
    let error = with_context(|context| {
        search(&mut study, &mut toy::parts(&config), toy::spares(2), context, None).unwrap_err()
    });
    let expected = "searcher, candidate 6: 'toy-halving' asks for rung 2, but search.rungs has 1";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// A clock that asks for a stop at some look.
struct StopAt {
    looks: std::cell::Cell<u64>,
    at: u64,
    interrupt: Interrupt,
}

impl Clock for StopAt {
    fn now(&self) -> Duration {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() == self.at {
            self.interrupt.request();
        }
        Duration::from_secs(self.looks.get())
    }
}

#[test]
fn halving_that_is_interrupted_anywhere_goes_on_to_the_same_result() {
    goes_on_from_anywhere(&toy::config(&HALVING));
}

#[test]
fn with_references_it_does_too() {
    let references = ["search.references=5", "search.reference_images=12"];
    goes_on_from_anywhere(&toy::config(&[&HALVING[..], &references].concat()));
}

fn goes_on_from_anywhere(config: &Config) {
    let (_whole_dir, whole, report) = searched_with(1, config);
    let run = |dir: &std::path::Path, threads, clock: &dyn Clock, interrupt: &Interrupt| {
        let mut study = Study::open(dir, config, Opening::Resume).unwrap();
        let interrupt = interrupt.clone();
        let mut context = Context { observer: &mut Silent, interrupt, clock };
        let mut parts = toy::parts(config);
        search(&mut study, &mut parts, toy::spares(threads), &mut context, None)
    };
    for threads in [1, 2] {
        let mut interrupted = 0;
        for at in 1.. {
            let (dir, interrupt) = (tempfile::tempdir().unwrap(), Interrupt::default());
            let clock = StopAt { looks: 0.into(), at, interrupt: interrupt.clone() };
            match run(dir.path(), threads, &clock, &interrupt) {
                Err(EngineError::Interrupted { .. }) => interrupted += 1,
                Ok(_) if interrupt.is_requested() => {}
                Ok(_) => break,
                Err(other) => panic!("at look {at}: {other}"),
            }
            let again = run(dir.path(), threads, &Ticks::default(), &Interrupt::default()).unwrap();
            assert_eq!(again.top, report.top);
            let study = Study::load(dir.path()).unwrap();
            assert!(stored(&study) == stored(&whole), "interrupted at look {at}");
        }
        assert!(interrupted > 20, "{interrupted}");
    }
}

#[test]
fn rankings_may_differ_from_their_study_in_images_alone() {
    let (_dir, study, report) = searched(&[]);
    let archs: Vec<Architecture> = report.top.iter().map(|row| row.arch.clone()).collect();
    let rank_with = |flags: &[&str]| {
        let config = toy::config(flags);
        let mut parts = toy::parts(&config);
        with_context(|context| {
            rank(&study, &config, &mut parts, toy::spares(2), context, archs.clone())
        })
    };
    let rows = rank_with(&["search.images=12", "search.batch=6"]).unwrap();
    assert_eq!(rows.len(), report.top.len());
    assert_ne!(rows[0].loss, report.top[0].loss);
    let error = rank_with(&["train.steps=7"]).unwrap_err().to_string();
    assert!(error.contains("begun with another train.steps"), "{error}");
    assert_eq!(study.config(), &toy::config(&[]));
}

#[test]
fn references_rank_by_few_images_as_by_all() {
    let (_dir, study, _) = searched(&["space.settings.nodes=7"]);
    let arch = |seed| toy::parts(study.config()).space.sample(ghnas_core::Phase::Score, seed);
    let archs: Vec<Architecture> = (0..30).map(|seed| arch(seed).unwrap()).collect();
    let losses = |flags: &[&str]| -> Vec<f64> {
        let config = toy::config(&[&["space.settings.nodes=7"], flags].concat());
        let mut parts = toy::parts(&config);
        let spares = toy::spares(2);
        let mut rows = with_context(|context| {
            rank(&study, &config, &mut parts, spares, context, archs.clone()).unwrap()
        });
        rows.sort_by(|a, b| a.hash.cmp(&b.hash));
        rows.iter().map(|row| row.loss.unwrap()).collect()
    };
    let all = losses(&["search.images=12"]);
    let miss = |few: &[f64]| -> f64 { few.iter().zip(&all).map(|(a, b)| (a - b).powi(2)).sum() };
    let references = ["search.references=10", "search.reference_images=12"];
    let same = miss(&losses(&[&["search.images=12"], &references[..]].concat()));
    assert!(same < 1e-20, "all images count the same: {same}");
    let plain = miss(&losses(&["search.images=6"]));
    let referred = miss(&losses(&[&["search.images=6"], &references[..]].concat()));
    assert!(referred < plain / 10.0, "{referred} with references, {plain} without");
}

#[test]
fn rankings_are_the_same_for_any_number_at_once() {
    let (_dir, study, _) = searched(&["space.settings.nodes=7"]);
    let arch = |seed| toy::parts(study.config()).space.sample(ghnas_core::Phase::Score, seed);
    let archs: Vec<Architecture> = (0..30).map(|seed| arch(seed).unwrap()).collect();
    let rows = |threads| {
        let mut parts = toy::parts(study.config());
        let spares = toy::spares(threads);
        with_context(|context| {
            rank(&study, study.config(), &mut parts, spares, context, archs.clone()).unwrap()
        })
    };
    assert_eq!(rows(1), rows(4));
}
