//! `ghnas search --evaluator table` through the binary, on a part of NAS-Bench-201.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use ghnas_tests::binary::{Run, run, start};
use serde_json::Value;

/// Every eighth cell, with an accuracy that counts its convolutions and one that counts none of
/// them.
fn table() -> &'static str {
    static TABLE: OnceLock<String> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = run(&["sample", "--space", "nas-bench-201", "--all", "--format", "notation"]);
        assert_eq!(all.code, Some(0), "{}", all.stderr);
        let row = |(number, cell): (usize, &str)| {
            let count = |op: &str| cell.matches(op).count();
            let early = 10 * count("nor_conv_3x3") + 5 * count("nor_conv_1x1");
            let late = 90 - early - count("skip_connect");
            format!("{number},{cell},{early},{late},{}\n", 1000 * early)
        };
        let rows: String = all.stdout.lines().step_by(8).enumerate().map(row).collect();
        format!("index,arch_str,early,late,flops\n{rows}")
    })
}

/// The words of a command over the table in `dir`.
fn words(dir: &Path, table: &str, more: &[&str]) -> Vec<String> {
    let path = dir.join("table.csv");
    std::fs::write(&path, table).unwrap();
    let always = ["search", "--space", "nas-bench-201", "--evaluator", "table", "--table"];
    let words = always.into_iter().chain([path.to_str().unwrap()]).chain(more.iter().copied());
    words.map(String::from).collect()
}

fn search(dir: &Path, table: &str, more: &[&str]) -> Run {
    run(&words(dir, table, more).iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn searchers_are_compared_on_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("result");
    let flags = [
        "--column",
        "early",
        "--report-column",
        "late",
        "--searcher",
        "random",
        "--searcher",
        "regularized-evolution",
        "--seeds",
        "5",
        "--set",
        "search.candidates=40",
        "--out",
        out.to_str().unwrap(),
        "--json",
    ];
    let report = |threads: &str| -> Value {
        let flags = [&flags[..], &["--threads", threads]].concat();
        let mut report = search(dir.path(), table(), &flags).json();
        assert!(report["seconds"].take().as_f64().unwrap() > 0.0);
        report
    };
    let one = report("1");
    assert_eq!(one, report("2"));
    assert_eq!((&one["optimum"], &one["interrupted"]), (&90.0.into(), &false.into()));
    let of = &one["table"];
    assert_eq!((&of["rows"], &of["report_column"]), (&1954.into(), &"late".into()));
    assert_eq!(of["columns"], serde_json::json!(["early"]));
    assert_eq!(of["sha256"].as_str().unwrap().len(), 64);
    for (run, searcher) in one["runs"].as_array().unwrap().iter().zip(["random", "regularized"]) {
        assert!(run["searcher"].as_str().unwrap().starts_with(searcher));
        assert_eq!((&run["seeds"], &run["evaluations"]), (&5.into(), &40.into()));
        // An eighth of the cells are in the table, and their isomorphic ones.
        assert!(run["missing"].as_u64().unwrap() > 5 * 40, "{run}");
        let regret = run["regret"].as_array().unwrap();
        let at: Vec<u64> =
            regret.iter().map(|point| point["evaluations"].as_u64().unwrap()).collect();
        assert_eq!(at, [10, 30, 40]);
        let last = regret[2]["mean"].as_f64().unwrap();
        assert!((90.0 - last - run["mean_best"].as_f64().unwrap()).abs() < 1e-9);
        assert!(regret[2]["ci95"][0].as_f64().unwrap() <= last);
        // What is best by the column searched is bad by the other.
        assert!(last > 20.0, "{last}");
    }
    let csv = std::fs::read_to_string(out.join("regret.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 40);
    let svg = std::fs::read_to_string(out.join("regret.svg")).unwrap();
    assert!(svg.contains("regularized-evolution (5 runs)") && svg.contains("<polygon"));
    assert!(out.join("tabular.json").is_file());
}

#[test]
fn a_person_reads_means_with_intervals() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--column", "early", "--seeds", "3", "--set", "search.candidates=12"];
    let run = search(dir.path(), table(), &flags);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for header in ["after 10 [95%]", "after 12 [95%]", "missing"] {
        assert!(run.stdout.contains(header), "{}", run.stdout);
    }
    assert!(run.stdout.contains("reported   early, at best 50.00"), "{}", run.stdout);
    assert!(run.stderr.contains("see no multiply-adds"), "{}", run.stderr);
}

#[test]
fn several_columns_are_rungs() {
    let dir = tempfile::tempdir().unwrap();
    let halving = ["--searcher", "successive-halving", "--seeds", "2", "--column", "early"];
    let more = [
        "--set",
        "searcher.settings.initial=27",
        "--set",
        "searcher.settings.rungs=2",
        "--multiply-adds-column",
        "flops",
        "--json",
    ];
    let two = ["--column", "late"];
    let report = search(dir.path(), table(), &[&halving[..], &two, &more].concat()).json();
    assert_eq!(report["table"]["columns"], serde_json::json!(["early", "late"]));
    assert_eq!(report["table"]["multiply_adds_column"], "flops");
    let one = search(dir.path(), table(), &[&halving[..], &more].concat());
    one.assert_fails(1, &["'successive-halving' asks for rung 1", "one --column a rung"]);
}

/// Trains a generator for no more than two steps, in `dir`.
fn train(dir: &Path, more: &[&str]) -> Run {
    let always = ["train-generator", "--space", "nas-bench-201", "--study", dir.to_str().unwrap()];
    let small = ["--set", "train.steps=2", "--set", "train.batch=16", "--set", "search.images=20"];
    run(&[&always[..], &small, more].concat())
}

#[test]
fn bananas_learns_from_the_embeddings_of_a_study() {
    let dir = tempfile::tempdir().unwrap();
    let [study, one_shot] = ["study", "one-shot"].map(|name| dir.path().join(name));
    assert_eq!(train(&study, &[]).code, Some(0));
    let flags = ["--column", "early", "--searcher", "bananas", "--seeds", "3", "--json"];
    let small = ["search.candidates=40", "searcher.settings.epochs=30"];
    let small = small.iter().flat_map(|text| ["--set", text]);
    let flags: Vec<&str> = flags.into_iter().chain(small).collect();
    let embedding = ["--set", "searcher.settings.encoding=embedding"];
    let with = |study: &Path, more: &[&str]| {
        let given = ["--embeddings", study.to_str().unwrap()];
        search(dir.path(), table(), &[&flags[..], &given, more].concat())
    };
    let report = |run: Run| -> Value {
        let mut report = run.json();
        report["seconds"].take();
        report
    };
    let one = report(with(&study, &[&embedding[..], &["--threads", "1"]].concat()));
    let two = report(with(&study, &[&embedding[..], &["--threads", "2"]].concat()));
    assert_eq!(one, two);
    // Three of six edges with a 3x3 convolution are worth 30; a search that learns nothing of the
    // table finds 42 in 40 evaluations.
    assert!(one["runs"][0]["mean_best"].as_f64().unwrap() > 44.0, "{one}");
    let paths = with(&study, &[]);
    assert!(paths.stderr.contains("no searcher asks for the embeddings"), "{}", paths.stderr);
    assert_ne!(report(paths)["runs"][0]["regret"], one["runs"][0]["regret"]);

    let without = search(dir.path(), table(), &[&flags[..], &embedding].concat());
    without
        .assert_fails(2, &["'bananas': encoding", "--embeddings STUDY gives a table embeddings"]);
    with(&dir.path().join("nowhere"), &embedding).assert_fails(1, &["nowhere holds no study"]);
    let other = [&embedding[..], &["--set", "space.settings.channels=4"]].concat();
    with(&study, &other).assert_fails(2, &["study has another space.settings.channels"]);
    assert_eq!(train(&one_shot, &["--set", "generator.id=one-shot"]).code, Some(0));
    let expected = ["weight generator 'one-shot' of ", "one-shot has no embeddings"];
    with(&one_shot, &embedding).assert_fails(2, &expected);
    std::fs::remove_file(study.join("generator.safetensors")).unwrap();
    with(&study, &embedding).assert_fails(1, &["study is at step 0 of 2; train it to the end"]);
}

#[test]
fn an_interrupt_reports_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--column", "early", "--seeds", "1000000", "--set", "search.candidates=2"];
    let words = words(dir.path(), table(), &flags);
    let mut child = start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    // This is said after the table was read; runs take milliseconds.
    let mut words = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    words.read_line(&mut told).unwrap();
    assert!(told.contains("see no multiply-adds"), "{told}");
    std::thread::sleep(Duration::from_secs(1));
    let kill = ["-s", "INT", &child.id().to_string()].map(String::from);
    assert!(Command::new("kill").args(kill).status().unwrap().success());
    words.read_to_string(&mut told).unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{told}");
    assert!(told.contains("of 1000000 runs; those that were finished are reported"), "{told}");
    assert!(run.stdout.contains("after 2 [95%]"), "{}", run.stdout);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let small = "index,arch_str,early,late,flops\n";
    search(dir.path(), small, &[]).assert_fails(2, &["--evaluator table needs --column NAME"]);
    search(dir.path(), small, &["--column", "early", "--resume"]).assert_fails(2, &["--resume"]);
    search(dir.path(), small, &["--column", "early"]).assert_fails(1, &["table.csv: ", "no rows"]);
    run(&["search", "--seeds", "3"]).assert_fails(2, &["--seeds needs --evaluator table"]);
    run(&["search", "--embeddings", "x"]).assert_fails(2, &["--embeddings needs --evaluator"]);
    run(&["search", "--searcher", "random"]).assert_fails(2, &["--set searcher.id=ID"]);
    let unknown = ["--column", "early", "--searcher", "randon"];
    search(dir.path(), small, &unknown).assert_fails(2, &["did you mean 'random'?"]);
}

#[test]
fn a_table_that_cannot_be_used_is_refused_with_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = table().lines().take(5).collect();
    let cells: Vec<&str> = lines[2].split(',').collect();
    let replaced = |place: usize, cell: &str| {
        let mut cells = cells.clone();
        cells[place] = cell;
        cells.join(",")
    };
    for (line, expected) in [
        (replaced(1, "|nor_conv_9x9~0|"), "line 3: column 2 (arch_str): column 2: unknown"),
        (replaced(2, "NaN"), "line 3: column 3 (early): 'NaN' is no accuracy in percent"),
        (replaced(2, "many"), "line 3: column 3 (early): 'many' is no accuracy in percent"),
        (replaced(3, ""), "line 3: column 4 (late): '' is no accuracy in percent"),
        (cells[..4].join(","), "line 3: 4 cells, expected 5"),
        (lines[1].to_owned(), "is on line 2 already"),
        // A cell of another space.
        (replaced(1, "{}"), "line 3: column 2 (arch_str): "),
    ] {
        let mut wrong = lines.clone();
        wrong[2] = &line;
        let flags = ["--column", "early", "--report-column", "late"];
        search(dir.path(), &wrong.join("\n"), &flags).assert_fails(1, &["table.csv", expected]);
    }
    let flags = ["--column", "earlier"];
    let expected = "line 1: no column 'earlier'; there are: index, arch_str, early, late, flops";
    search(dir.path(), &lines.join("\n"), &flags).assert_fails(1, &[expected]);
}
