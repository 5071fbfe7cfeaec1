//! Laws of the table on disk.

use std::time::Duration;

use ghnas_core::LossSum;

use super::*;
use crate::config::Config;
use crate::error::EngineError;
use crate::toy;

fn header(config: &Config) -> TruthHeader {
    TruthHeader::of(config)
}

fn row(ops: &[&str], seed: u64, correct: usize) -> TruthRow {
    let sum = LossSum { loss: 10.0, correct, count: 10 };
    TruthRow::new(toy::chain(ops), seed, sum, Duration::from_secs(1))
}

/// A table of two architectures with two seeds, in the order in which runs may end.
fn table(dir: &std::path::Path) -> (std::path::PathBuf, TruthTable) {
    let path = dir.join("truth.jsonl");
    let mut table = TruthTable::continued(&path, &header(&toy::config(&[]))).unwrap();
    for (ops, seed, correct) in
        [(["wide"], 1, 7), (["narrow"], 0, 4), (["wide"], 0, 6), (["narrow"], 1, 5)]
    {
        table.add(row(&ops, seed, correct)).unwrap();
    }
    (path, table)
}

#[track_caller]
fn refused(result: Result<TruthTable, EngineError>, expected: &str) {
    let error = result.err().expect("the table is wrong").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_finished_table_does_not_depend_on_the_order_of_its_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut table) = table(dir.path());
    let archs = [toy::chain(&["wide"]), toy::chain(&["narrow"])];
    table.sort(&archs).unwrap();
    let again = TruthTable::read(&path).unwrap();
    let order: Vec<u64> = again.rows().iter().map(|row| row.seed).collect();
    assert_eq!(order, [0, 1, 0, 1]);
    let truth = again.truth().unwrap();
    assert_eq!(truth.archs(), archs);
    assert_eq!(truth.by_seed(), [[0.6, 0.4], [0.7, 0.5]]);
    // It goes on after it was replaced.
    table.add(row(&["wide", "wide"], 0, 1)).unwrap();
    assert_eq!(TruthTable::read(&path).unwrap().rows().len(), 5);
}

#[test]
fn a_line_that_was_cut_off_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, table) = table(dir.path());
    drop(table);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    refused(TruthTable::read(&path), "line 5");
    let config = toy::config(&[]);
    let table = TruthTable::continued(&path, &header(&config)).unwrap();
    assert_eq!(table.rows().len(), 3);
    refused(TruthTable::continued(&path, &header(&config)), "locked");
}

#[test]
fn wrong_tables_are_refused_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let (path, table) = table(dir.path());
    drop(table);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let twice = format!("{text}{}\n", lines[1]);
    let other = lines[0].replace("\"schema\":1", "\"schema\":2");
    for (text, expected) in [
        (String::new(), "line 1: the table is empty"),
        ("words\n".into(), "line 1: not the header of a truth table"),
        (format!("{other}\n"), "line 1: schema 2, but this release knows schema 1 alone"),
        (twice, "line 6: architecture"),
        (text.replacen(&lines[1][9..15], "ffffff", 1), "line 2: the hash is not that"),
    ] {
        std::fs::write(&path, text).unwrap();
        refused(TruthTable::read(&path), expected);
    }
}

#[test]
fn another_recipe_is_refused_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let (path, table) = table(dir.path());
    let other = toy::config(&["space.settings.nodes=5"]);
    let error = table.expect_space(&other).unwrap_err().to_string();
    assert!(error.contains("space.settings.nodes is 4 there, 5 here"), "{error}");
    table.expect_space(&toy::config(&["train.steps=3"])).unwrap();
    drop(table);
    let other = header(&toy::config(&["train.steps=3"]));
    refused(TruthTable::continued(&path, &other), "train.steps is 6 there, 3 here");
}

#[test]
fn a_seed_that_is_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut table) = table(dir.path());
    table.add(row(&["wide", "narrow"], 1, 5)).unwrap();
    let error = table.truth().unwrap_err().to_string();
    assert!(error.contains("has not all seeds"), "{error}");
    table.add(row(&["wide", "wide"], 0, 5)).unwrap();
    let error = table.truth().unwrap_err().to_string();
    assert!(error.contains("has 1 of 2 seeds; go on with ghnas truth"), "{error}");
}

#[test]
fn pieces_merge_and_contradictions_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut whole) = table(dir.path());
    let path = dir.path().join("piece.jsonl");
    let mut piece = TruthTable::continued(&path, &header(&toy::config(&[]))).unwrap();
    piece.add(row(&["wide"], 0, 6)).unwrap();
    piece.add(row(&["wide", "wide"], 0, 3)).unwrap();
    assert_eq!(whole.merge(&piece).unwrap(), 1);
    assert_eq!(whole.merge(&piece).unwrap(), 0);
    piece.add(row(&["narrow"], 0, 9)).unwrap();
    let error = whole.merge(&piece).unwrap_err().to_string();
    assert!(error.contains("another result than in"), "{error}");
}
