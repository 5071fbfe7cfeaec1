//! However a run is broken off, going on with it ends in the same bytes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::config::Config;
use crate::error::EngineError;
use crate::fault;
use crate::observer::{Context, Interrupt, Observer, Progress, Silent};
use crate::report::StudyReport;
use crate::search::search;
use crate::study::{Opening, Study};
use crate::toy::{self, Ticks};

/// Requests a stop after some training steps and candidates.
struct StopAfter {
    left: u64,
    interrupt: Interrupt,
}

impl StopAfter {
    fn count(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.interrupt.request();
        }
    }
}

impl Observer for StopAfter {
    fn training_step(&mut self, _: &Progress) {
        self.count();
    }

    fn candidate_scored(&mut self, _: &Progress) {
        self.count();
    }

    fn message(&mut self, _: &str) {}
}

/// Takes its time, so that a kill finds work to interrupt.
struct Slow;

impl Observer for Slow {
    fn training_step(&mut self, _: &Progress) {
        std::thread::sleep(Duration::from_millis(3));
    }

    fn candidate_scored(&mut self, _: &Progress) {
        std::thread::sleep(Duration::from_millis(3));
    }

    fn message(&mut self, _: &str) {}
}

fn run_with(
    dir: &Path,
    config: &Config,
    context: &mut Context<'_>,
) -> Result<StudyReport, EngineError> {
    let mut study = Study::open(dir, config, Opening::Resume)?;
    search(&mut study, &mut toy::parts(config), toy::spares(2), context, None)
}

fn run(dir: &Path, config: &Config) -> Result<StudyReport, EngineError> {
    let clock = Ticks::default();
    let interrupt = Interrupt::default();
    run_with(dir, config, &mut Context { observer: &mut Silent, interrupt, clock: &clock })
}

/// The bytes of the checkpoint and of the selected state, and every row of every table but the
/// timings.
fn content(dir: &Path) -> ([Vec<u8>; 2], Vec<String>) {
    let states = ["generator.safetensors", "selected.safetensors"];
    let states = states.map(|name| fs::read(dir.join(name)).unwrap());
    let store = Connection::open(dir.join("study.db")).unwrap();
    let mut rows = Vec::new();
    for table in ["meta", "training_steps", "evaluations", "probe_losses", "candidates"] {
        let mut statement = store.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|i| row.get(i).unwrap()).collect();
            rows.push(format!("{table} {values:?}"));
        }
    }
    (states, rows)
}

/// Two architectures a step, some of which are not finite or not supported, evaluations of which
/// one is selected, and a searcher with a memory.
fn config() -> Config {
    toy::config(&[
        "train.archs_per_step=2",
        "train.evaluate_every=2",
        "train.probes=5",
        "train.select=validation_loss",
        "searcher.id=toy-evolution",
        r#"space.settings.ops=["narrow", "wide", "broken"]"#,
    ])
}

#[test]
fn interrupted_anywhere_and_resumed_is_uninterrupted() {
    let (whole, config) = (tempfile::tempdir().unwrap(), config());
    let expected_report = run(whole.path(), &config).unwrap();
    let expected = content(whole.path());
    assert_eq!(expected.1.iter().filter(|row| row.starts_with("training_steps")).count(), 12);
    assert_eq!(expected.1.iter().filter(|row| row.starts_with("candidates")).count(), 5);

    for stop_after in 1..=6 + 5 {
        let dir = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let mut observer = StopAfter { left: stop_after, interrupt: interrupt.clone() };
        let clock = Ticks::default();
        let mut context = Context { observer: &mut observer, interrupt, clock: &clock };
        match run_with(dir.path(), &config, &mut context) {
            Err(EngineError::Interrupted { done, unit: "training steps", .. }) => {
                assert_eq!(done, stop_after);
            }
            Err(EngineError::Interrupted { done, unit: "candidates", .. }) => {
                assert_eq!(done, stop_after - 6);
            }
            // Nothing is left to do after the last candidate.
            Ok(_) => assert_eq!(stop_after, 11),
            Err(other) => panic!("after {stop_after}: {other:?}"),
        }
        let report = run(dir.path(), &config).unwrap();
        assert!(content(dir.path()) == expected, "interrupted after {stop_after}");
        assert_eq!(report.top, expected_report.top);
    }
}

#[test]
fn training_that_ends_early_ends_alike_however_it_is_interrupted() {
    let (whole, config) = (tempfile::tempdir().unwrap(), early());
    let report = run(whole.path(), &config).unwrap();
    let selection = report.generator.selection.unwrap();
    assert!(selection.stopped_early && selection.step < report.generator.steps, "{selection:?}");
    let expected = content(whole.path());
    for stop_after in 1..=report.generator.steps {
        let dir = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let mut observer = StopAfter { left: stop_after, interrupt: interrupt.clone() };
        let clock = Ticks::default();
        let mut context = Context { observer: &mut observer, interrupt, clock: &clock };
        let error = run_with(dir.path(), &config, &mut context).unwrap_err();
        assert!(matches!(error, EngineError::Interrupted { done, .. } if done == stop_after));
        run(dir.path(), &config).unwrap();
        assert!(content(dir.path()) == expected, "interrupted after {stop_after}");
    }
}

/// Training that gets worse and ends before its twelve steps.
fn early() -> Config {
    let mut config = config();
    let train = &mut config.train;
    (train.steps, train.evaluate_every, train.patience, train.learning_rate) = (12, 1, 2, 20.0);
    config
}

#[test]
fn a_write_that_fails_anywhere_damages_nothing() {
    let mut config = config();
    (config.train.steps, config.search.candidates) = (3, 3);
    fails_anywhere(&config);
}

#[test]
fn a_write_that_fails_anywhere_before_an_early_end_damages_nothing() {
    let mut config = early();
    config.search.candidates = 1;
    fails_anywhere(&config);
}

#[track_caller]
fn fails_anywhere(config: &Config) {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), config).unwrap();
    let expected = content(whole.path());

    let mut points = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        fault::arm(points);
        let failed = run(dir.path(), config);
        fault::disarm();
        match failed {
            Ok(_) => break,
            Err(EngineError::Write { path, .. }) => assert!(path.starts_with(dir.path())),
            Err(other) => panic!("point {points}: {other:?}"),
        }
        run(dir.path(), config).unwrap_or_else(|error| panic!("after point {points}: {error:?}"));
        assert!(content(dir.path()) == expected, "failed at point {points}");
        points += 1;
    }
    // Each of three steps is stored in at least two points and saved in four.
    assert!(points > 18, "{points}");
}

/// Names the directory that a killed process works in.
const KILLED: &str = "GHNAS_TEST_KILLED_STUDY";

#[test]
fn killed_at_any_moment_and_resumed_is_uninterrupted() {
    let config = config();
    if let Some(dir) = std::env::var_os(KILLED) {
        let (clock, interrupt) = (Ticks::default(), Interrupt::default());
        let context = &mut Context { observer: &mut Slow, interrupt, clock: &clock };
        run_with(Path::new(&dir), &config, context).unwrap();
        return;
    }
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &config).unwrap();
    let expected = content(whole.path());

    // This test again, as a process of its own.
    let spawn = |dir: &Path| -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume_tests::killed_at_any_moment_and_resumed_is_uninterrupted"])
            .env(KILLED, dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut kills = 0;
    for round in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        // The later the longer, so that even a slow machine gets to the end.
        for wait in (1..).map(|attempt| Duration::from_millis(attempt * (5 + round))) {
            let mut child = spawn(dir.path());
            std::thread::sleep(wait);
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(content(dir.path()) == expected, "round {round}");
    }
    assert!(kills > 0);
}

#[test]
fn same_seed_same_bytes_other_seed_others() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    run(dirs[0].path(), &config()).unwrap();
    run(dirs[1].path(), &config()).unwrap();
    run(dirs[2].path(), &Config { seed: 1, ..config() }).unwrap();
    let [first, same, other] = [0, 1, 2].map(|i| content(dirs[i].path()));
    assert!(first == same);
    assert!(first.0 != other.0 && first.1 != other.1);
}

#[test]
fn more_candidates_later_are_as_good_as_at_once() {
    let (at_once, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config();
    run(later.path(), &config).unwrap();
    config.search.candidates = 9;
    run(at_once.path(), &config).unwrap();
    let report = run(later.path(), &config).unwrap();
    assert_eq!(report.candidates, 9);
    // The digest in the checkpoint leaves out what may change.
    assert!(content(at_once.path()) == content(later.path()));
}
