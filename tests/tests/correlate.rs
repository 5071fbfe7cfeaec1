//! `ghnas correlate` against a table of published accuracies, through the binary.

use std::path::Path;

use ghnas_tests::binary::{Run, run};

/// Cells of NAS-Bench-201 with their published parameters.
const PUBLISHED: &str = include_str!("../../search-spaces/nas-bench-201/tests/published.csv");

const CONFIG: &str = "space.id = \"nas-bench-201\"\nspace.preset = \"benchmark\"\n\
                      comparison.resamples = 200\n\
                      [methods.params]\nproxy = \"params\"\n\
                      [methods.multiply-adds]\nproxy = \"multiply-adds\"\n";

/// A table in which accuracy rises with parameters.
fn table() -> String {
    let mut table = String::from("index,arch_str,accuracy\n");
    for line in PUBLISHED.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let params: f64 = cells[2].parse().unwrap();
        table += &format!("{},{},{}\n", cells[0], cells[1], 50.0 + params / 1e5);
    }
    table
}

fn correlate(dir: &Path, table: &str) -> Run {
    correlate_with(dir, CONFIG, table)
}

fn correlate_with(dir: &Path, config: &str, table: &str) -> Run {
    std::fs::write(dir.join("config.toml"), config).unwrap();
    std::fs::write(dir.join("table.csv"), table).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let (config, table, study) = (path("config.toml"), path("table.csv"), path("study"));
    run(&[
        "correlate",
        "-c",
        &config,
        "--truth-table",
        &table,
        "--column",
        "accuracy",
        "--study",
        &study,
        "--json",
    ])
}

#[test]
fn a_score_that_the_truth_was_made_of_correlates_fully() {
    let dir = tempfile::tempdir().unwrap();
    let result = correlate(dir.path(), &table()).json();
    assert_eq!(result["architectures"], 62);
    let methods = result["methods"].as_array().unwrap();
    let params = methods.iter().find(|method| method["name"] == "params").unwrap();
    for statistic in ["pearson", "spearman", "kendall"] {
        let value = params["random"][statistic].as_f64().unwrap();
        assert!((value - 1.0).abs() < 1e-9, "{statistic}: {value}");
    }
    assert_eq!(params["n"], 62);
    assert_eq!(params["regret"][0]["points"], 0.0);
    for file in ["comparison.csv", "comparison.md", "comparison.svg", "differences.csv"] {
        assert!(dir.path().join("study").join(file).is_file(), "{file}");
    }
    // What was scored is kept, and everything but the times comes out the same.
    let scores = dir.path().join("study/params.scores.json");
    let (before, written) = (std::fs::read(&scores).unwrap(), scores.metadata().unwrap());
    let again = correlate(dir.path(), &table()).json();
    assert_eq!(again["methods"], result["methods"]);
    assert_eq!(again["differences"], result["differences"]);
    assert_eq!(std::fs::read(&scores).unwrap(), before);
    assert_eq!(scores.metadata().unwrap().modified().unwrap(), written.modified().unwrap());
}

/// The benchmark has accuracies of its own for cells that are the same graph.
#[test]
fn isomorphic_cells_of_a_table_are_two_architectures() {
    let dir = tempfile::tempdir().unwrap();
    let twins = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|\n\
                 |skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|";
    let rows = twins.lines().map(|arch| format!("0,{arch},70\n"));
    let table = table() + &rows.collect::<String>();
    assert_eq!(correlate(dir.path(), &table).json()["architectures"], 64);
}

#[test]
fn a_wrong_table_is_refused_by_line_and_column() {
    let table = table();
    let third = table.lines().nth(2).unwrap();
    let cells: Vec<&str> = third.split(',').collect();
    let replaced = |place: usize, cell: &str| {
        let mut cells = cells.clone();
        cells[place] = cell;
        cells.join(",")
    };
    for (line, expected) in [
        (replaced(1, "|nor_conv_9x9~0|"), "line 3: column 2 (arch_str): "),
        (replaced(2, "many"), "line 3: column 3 (accuracy): 'many' is no accuracy in percent"),
        (replaced(2, "NaN"), "line 3: column 3 (accuracy): 'NaN' is no accuracy in percent"),
        (replaced(2, "101"), "line 3: column 3 (accuracy): '101' is no accuracy in percent"),
        (replaced(2, "1,2"), "line 3: 4 cells, expected 3"),
        (table.lines().nth(1).unwrap().to_owned(), "is on line 2 already"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let wrong = table.replace(third, &line);
        correlate(dir.path(), &wrong).assert_fails(1, &["table.csv", expected]);
    }
    let dir = tempfile::tempdir().unwrap();
    let renamed = table.replace("accuracy", "precision");
    let expected = "line 1: no column 'accuracy'; there are: index, arch_str, precision";
    correlate(dir.path(), &renamed).assert_fails(1, &[expected]);
}

#[test]
fn a_comparison_without_methods_says_what_to_add() {
    let run = run(&["correlate"]);
    run.assert_fails(1, &["there is nothing to compare", "[methods.ghn]"]);
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_scored() {
    let table = table();
    let first_two: String = table.lines().take(3).map(|line| format!("{line}\n")).collect();
    let few_resamples = CONFIG.replace("200", "50");
    let cases = [
        (
            few_resamples.as_str(),
            table.as_str(),
            ["50 bootstrap resamples are too few", "at least 100"],
        ),
        (CONFIG, first_two.as_str(), ["2 points are too few", "it takes 3"]),
    ];
    for (config, table, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        correlate_with(dir.path(), config, table).assert_fails(1, &expected);
        assert!(!dir.path().join("study").exists());
    }
}
