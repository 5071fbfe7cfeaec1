//! `ghnas rank` through the binary: zero-cost proxies, and what may differ from the study.

use ghnas_tests::binary::run;

/// Two cells that are isomorphic (node 1 and node 2 change places), and a larger one.
const CELLS: [&str; 3] = [
    "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
    "|none~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|nor_conv_3x3~2|",
    "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|none~2|",
];

#[test]
fn a_proxy_ranks_without_a_study_and_rows_have_the_notation() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (archs, csv) = (path("cells.txt"), path("rows.csv"));
    std::fs::write(&archs, CELLS.join("\n")).unwrap();
    let words = ["rank", "--space", "nas-bench-201", "--proxy", "params", "--archs", &archs];
    let rows = run(&[&words[..], &["--out", &csv, "--json"]].concat()).json();
    let rows = rows.as_array().unwrap();
    let text = |row: usize, key: &str| rows[row][key].as_str().unwrap();
    // The larger first, then the isomorphic ones in the order in which they were given.
    let notations: Vec<&str> = (0..3).map(|row| text(row, "notation")).collect();
    assert_eq!(notations, [CELLS[2], CELLS[0], CELLS[1]]);
    assert_eq!(text(1, "hash"), text(2, "hash"));
    for row in rows {
        assert_eq!(row["score"].as_f64(), row["params"].as_f64());
        assert!(row["loss"].is_null() && row["multiply_adds"].as_u64().unwrap() > 0);
    }
    let csv = std::fs::read_to_string(&csv).unwrap();
    let last: Vec<&str> = csv.lines().next().unwrap().split(',').rev().take(2).collect();
    assert_eq!(last, ["score", "notation"]);
    assert!(csv.contains(&format!("\"{}\"", CELLS[0])), "{csv}");
    let shown = run(&words);
    assert!(shown.stdout.contains(CELLS[1]) && shown.stdout.contains("score"), "{shown:?}");

    let wrong = ["rank", "--proxy", "parms", "--archs", &archs, "--space", "nas-bench-201"];
    run(&wrong).assert_fails(2, &["unknown zero-cost proxy 'parms', did you mean 'params'?"]);
    let batch = [&words[..], &["--set", "search.batch=1000000"]].concat();
    run(&batch).assert_fails(2, &["search.batch = 1000000, but the data set has"]);
    std::fs::write(&archs, format!("{}\n|none~0|\n", CELLS[0])).unwrap();
    run(&words).assert_fails(1, &["cells.txt, line 2: ", "column 9"]);
}
