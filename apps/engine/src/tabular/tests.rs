//! Laws of runs against a table, on toys: 30 chains of up to four narrow and wide layers.

use std::path::Path;

use super::*;
use crate::observer::{Interrupt, Observer, Progress, Silent};
use crate::toy::{self, Ticks};

/// All chains, the shortest first.
fn chains() -> Vec<Vec<&'static str>> {
    let longer =
        |chain: &Vec<&'static str>| ["narrow", "wide"].map(|op| [&chain[..], &[op]].concat());
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    let mut first = 0;
    for _ in 0..4 {
        let last = all.len();
        let next: Vec<Vec<&str>> = all[first..last].iter().flat_map(longer).collect();
        first = last;
        all.extend(next);
    }
    all.remove(0);
    all
}

/// A table of the chains that `keep` holds for, with `values` in the columns `a`, `b` and `c`.
fn table_text(keep: impl Fn(&[&str]) -> bool, values: impl Fn(f64, f64) -> [f64; 3]) -> String {
    let mut text = String::from("arch_str,a,b,c,flops\n");
    for chain in chains().iter().filter(|chain| keep(chain)) {
        let wide = chain.iter().filter(|op| **op == "wide").count() as f64;
        // No two values are equal.
        let place = chain.iter().fold(1, |sum, op| 2 * sum + usize::from(*op == "wide")) as f64;
        let [a, b, c] = values(wide, place);
        text += &format!("{},{a},{b},{c},{}\n", chain.join("-"), chain.len());
    }
    text
}

fn read(text: &str, searched: &[&str], reported: &str) -> Result<TabularTable, EngineError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.csv");
    std::fs::write(&path, text).unwrap();
    let columns = TableColumns {
        searched: searched.iter().map(|&name| name.into()).collect(),
        reported: reported.into(),
        multiply_adds: Some("flops".into()),
    };
    TabularTable::read(&path, &*space(), columns)
}

fn space() -> Arc<dyn SearchSpace> {
    toy::parts(&toy::config(&[])).space
}

fn searched(
    table: &TabularTable,
    flags: &[&[&str]],
    seeds: u64,
    threads: usize,
    observer: (&mut dyn Observer, Interrupt),
) -> Result<TabularReport, EngineError> {
    let configs: Vec<Config> = flags.iter().map(|flags| toy::config(flags)).collect();
    let catalogue = toy::catalogue();
    let (space, clock) = (space(), Ticks::default());
    let mut context = Context { observer: observer.0, interrupt: observer.1, clock: &clock };
    let catalogue = &catalogue;
    let (space, configs, encoder) = (&space, &configs[..], None);
    let work = TabularWork { table, space, configs, catalogue, encoder, seeds, threads };
    search_table(&work, &mut context)
}

fn quietly(table: &TabularTable, flags: &[&str], seeds: u64) -> Result<TabularReport, EngineError> {
    searched(table, &[flags], seeds, 2, (&mut Silent, Interrupt::default()))
}

const RANDOM: [&str; 2] = ["searcher.id=random", "search.candidates=400"];

#[test]
fn a_searcher_picks_by_what_it_sees_and_is_reported_by_what_it_does_not() {
    // The best by `a` is the worst but one by `b`: 400 samples of 30 chains find the best.
    let text = table_text(|_| true, |wide, place| [10.0 * wide + place / 32.0, 90.0 - wide, 0.0]);
    let table = read(&text, &["a"], "b").unwrap();
    let report = quietly(&table, &RANDOM, 20).unwrap();
    assert_eq!((report.optimum, report.table.rows, report.table.distinct), (90.0, 30, 30));
    let [run] = &report.runs[..] else { panic!("{report:?}") };
    assert_eq!((run.mean_best, run.ci95), (Some(86.0), Some([86.0, 86.0])));
    assert_eq!((run.seeds, run.evaluations, run.missing, run.ended_early), (20, 400, 0, 0));
    let at: Vec<u64> = run.regret.iter().map(|point| point.evaluations).collect();
    assert_eq!(at, [10, 30, 100, 300, 400]);
    assert_eq!(run.regret[4].mean, 4.0);

    // Whatever the reported column holds, the searcher's runs are the same.
    let other = table_text(|_| true, |wide, place| [10.0 * wide + place / 32.0, place, 0.0]);
    let other = read(&other, &["a"], "b").unwrap();
    let picks = |table: &TabularTable| {
        let mut searcher = crate::RandomSearch::new(5);
        let interrupt = Interrupt::default();
        super::run(table.searched(), &*space(), ("random", &mut searcher), 50, &interrupt).unwrap()
    };
    assert_eq!(picks(&table), picks(&other));
}

#[test]
fn what_the_table_lacks_is_missing_and_no_evaluation() {
    let whole = table_text(|_| true, |wide, place| [wide + place / 32.0; 3]);
    let half = table_text(|chain| chain.len() % 2 == 0, |wide, place| [wide + place / 32.0; 3]);
    for (text, missing) in [(whole, false), (half, true)] {
        let table = read(&text, &["a"], "c").unwrap();
        let mut flags = vec!["search.candidates=25"];
        for searcher in ["searcher.id=random", "searcher.id=toy-evolution"] {
            flags.push(searcher);
            let report = quietly(&table, &flags, 8).unwrap();
            let run = &report.runs[0];
            assert_eq!((run.missing > 0, run.ended_early, run.failed), (missing, 0, 0));
            assert_eq!(run.curve.len(), 25);
            assert!(run.curve.is_sorted_by(|a, b| a.mean >= b.mean), "regret never rises");
        }
    }
}

#[test]
fn a_table_without_what_is_asked_for_ends_the_run() {
    let table = read(&table_text(|chain| chain.len() > 3, |_, place| [place; 3]), &["a"], "c");
    let nodes = ["space.settings.nodes=2", "search.candidates=25"];
    let config = toy::config(&nodes);
    let small = toy::parts(&config).space;
    let mut searcher = crate::RandomSearch::new(0);
    let table = table.unwrap();
    let searcher: (_, &mut dyn ghnas_core::Searcher) = ("random", &mut searcher);
    let result = run(table.searched(), &*small, searcher, 1, &Interrupt::default());
    let error = result.unwrap_err().to_string();
    assert!(error.contains("'random' asked for 10000 architectures in a row"), "{error}");
}

#[test]
fn isomorphic_architectures_have_the_first_of_their_rows() {
    let text = "arch_str,a,b,flops\nwide+narrow,1,2,1\nwide+wide,3,4,1\nwide-wide,5,6,1\n";
    let table = read(text, &["a"], "b").unwrap();
    let row = |ops: &[&str]| table.searched().row(&*space(), &toy::chain(ops));
    for _ in 0..2 {
        // By notation, by hash, and not at all.
        assert_eq!(row(&["wide", "wide"]), Some(2));
        assert_eq!(row(&["wide", "narrow"]), Some(0));
        assert_eq!(row(&["narrow"]), None);
    }
    assert_eq!(table.report().distinct, 2);
}

#[test]
fn rungs_are_columns_and_the_highest_decides() {
    // What is best early is worst later.
    let values = |_: f64, place: f64| [place, 60.0 - place, 3.0 * (30.0 - place).max(0.0)];
    let text = table_text(|_| true, values);
    let table = read(&text, &["a", "b", "c"], "b").unwrap();
    let halving = ["searcher.id=toy-halving", "search.candidates=30"];
    let report = quietly(&table, &halving, 3).unwrap();
    let run = &report.runs[0];
    // Its samples are the same for every seed; it ends after seven evaluations.
    assert_eq!((run.ended_early, run.ci95.map(|[low, high]| high - low)), (3, Some(0.0)));
    let error = quietly(&read(&text, &["a", "b"], "c").unwrap(), &halving, 3).unwrap_err();
    let expected = "'toy-halving' asks for rung 2, but there are 2 rungs, counted from 0; give";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn any_number_of_threads_reports_the_same() {
    let text = table_text(|chain| chain.len() != 2, |wide, place| [wide, place, place]);
    let table = read(&text, &["a"], "c").unwrap();
    let flags: [&[&str]; 2] = [&["searcher.id=toy-evolution"], &["search.candidates=9"]];
    let report = |threads| {
        let quiet = (&mut Silent as &mut dyn Observer, Interrupt::default());
        let mut report = searched(&table, &flags, 30, threads, quiet).unwrap();
        report.seconds = 0.0;
        report
    };
    let one = report(1);
    assert_eq!(one, report(3));
    let csv = regret_csv(&one);
    assert_eq!(csv.lines().count(), 1 + 5 + 9);
    assert!(csv.starts_with("searcher,evaluations,mean,low,high\ntoy-evolution,1,"));
    let svg = regret_svg(&one);
    // The toys' evolution is the same for every seed.
    assert_eq!(svg.matches("<polygon").count(), 1, "{svg}");
}

/// Asks for a stop after some runs.
struct StopAfter(u64, Interrupt);

impl Observer for StopAfter {
    fn training_step(&mut self, _: &Progress) {}

    fn candidate_scored(&mut self, progress: &Progress) {
        if progress.done >= self.0 {
            self.1.request();
        }
    }

    fn message(&mut self, _: &str) {}
}

#[test]
fn what_is_finished_is_reported_after_an_interrupt() {
    let table = read(&table_text(|_| true, |_, place| [place; 3]), &["a"], "c").unwrap();
    let interrupt = Interrupt::default();
    let mut observer = StopAfter(4, interrupt.clone());
    let flags: [&[&str]; 1] = [&["search.candidates=2000"]];
    let report = searched(&table, &flags, 100_000, 1, (&mut observer, interrupt)).unwrap();
    assert!(report.interrupted && report.runs[0].seeds >= 4, "{}", report.runs[0].seeds);
    assert!(report.runs[0].mean_best.is_some());
}

#[test]
fn a_table_that_cannot_be_used_is_refused_with_line_and_column() {
    let good = table_text(|_| true, |wide, place| [wide, place, place]);
    let third = good.lines().nth(2).unwrap();
    for (line, expected) in [
        ("wide,1,2,3", "line 3: 4 cells, expected 5"),
        ("wide,1,,3,4", "line 3: column 3 (b): '' is no accuracy in percent"),
        ("wide,1,NaN,3,4", "line 3: column 3 (b): 'NaN' is no accuracy"),
        ("wide,high,2,3,4", "line 3: column 2 (a): 'high' is no accuracy"),
        ("wide,1,2,3,4.5", "line 3: column 5 (flops): '4.5' is no whole number"),
        ("narrow,1,2,3,4", "line 3: architecture narrow is on line 2 already"),
        ("|none~0|,1,2,3,4", "line 3: column 1 (arch_str): "),
    ] {
        let error = read(&good.replace(third, line), &["a"], "b").err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = read(&good, &["a"], "d").err().unwrap().to_string();
    assert!(error.contains("no column 'd'; there are: arch_str, a, b, c, flops"), "{error}");
    let error = read("arch_str,a,b,flops\n", &["a"], "b").err().unwrap().to_string();
    assert!(error.contains("no rows"), "{error}");
    let columns =
        TableColumns { searched: vec!["a".into()], reported: "a".into(), multiply_adds: None };
    let missing = TabularTable::read(Path::new("no-such.csv"), &*space(), columns);
    assert!(missing.err().unwrap().to_string().contains("no-such.csv"));
}
