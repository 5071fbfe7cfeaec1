//! The commands that need no study: their output is what COMMANDS promises to scripts.

use std::collections::BTreeSet;

use ghnas_core::Architecture;
use ghnas_tests::binary::run;

#[test]
fn samples_are_architectures_and_repeat_with_their_seed() {
    let sample = |seed: &str| {
        let run = run(&["sample", "--space", "cell", "-n", "5", "--seed", seed]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout
    };
    let first = sample("3");
    assert_eq!(first, sample("3"));
    assert_ne!(first, sample("4"));
    let hashes: BTreeSet<String> = first
        .lines()
        .map(|line| line.parse::<Architecture>().unwrap().hash().to_string())
        .collect();
    assert_eq!(hashes.len(), 5);
}

#[test]
fn a_space_is_listed_in_its_own_notation() {
    let all = run(&["sample", "--space", "nas-bench-201", "--all", "--format", "notation"]).stdout;
    let lines: BTreeSet<&str> = all.lines().collect();
    assert_eq!((all.lines().count(), lines.len()), (15_625, 15_625));
    let first = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
    assert_eq!(all.lines().next(), Some(first));
    let inspect = ["inspect", "--space", "nas-bench-201", "--preset", "benchmark", "--json"];
    // Row 0 of the benchmark's table.
    let published = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|\
                     +|nor_conv_1x1~0|skip_connect~1|skip_connect~2|";
    let report = run(&[&inspect[..], &["--arch", published]].concat()).json();
    assert_eq!(
        (&report["params"], &report["multiply_adds"]),
        (&129_306.into(), &15_647_370.into())
    );
    let sample = ["sample", "--space", "nas-bench-201", "--format", "notation", "--json"];
    let sampled = run(&sample).json();
    assert!(lines.contains(sampled[0]["arch"].as_str().unwrap()));
    run(&["sample", "--space", "cell", "--all"]).assert_fails(2, &["'cell' cannot list"]);
    run(&[&inspect[..], &["--arch", "|none~0|+|none~0|"]].concat())
        .assert_fails(1, &["column 18: expected the operation on the edge 1 to 2"]);
}

#[test]
fn mutation_and_crossover_give_architectures_of_the_space() {
    let sample = run(&["sample", "-n", "2"]).stdout;
    let archs: Vec<&str> = sample.lines().collect();
    for line in run(&["mutate", "--arch", archs[0], "-n", "3"]).stdout.lines() {
        let child: Architecture = line.parse().unwrap();
        assert_eq!(child.motifs()[0].nodes().len(), 17);
    }
    let crossed = run(&["crossover", "--arch", archs[0], "--arch", archs[1], "--json"]).json();
    assert!(crossed[0]["hash"].is_string() && crossed[0]["arch"].is_object());
    run(&["crossover", "--arch", archs[0]]).assert_fails(2, &["--arch twice"]);
}

#[test]
fn inspection_adds_up() {
    let arch = run(&["sample", "--preset", "paper"]).stdout;
    let report = run(&["inspect", "--preset", "paper", "--arch", arch.trim(), "--json"]).json();
    assert_eq!(report["output_shape"], serde_json::json!([10, 1, 1]));
    for key in ["params", "multiply_adds", "nodes"] {
        let modules = report["modules"].as_array().unwrap();
        let sum: u64 = modules.iter().map(|module| module[key].as_u64().unwrap()).sum();
        assert_eq!(report[key].as_u64(), Some(sum), "{key}");
    }
    assert_eq!(report["hash"], arch.trim().parse::<Architecture>().unwrap().hash().to_string());
}

#[test]
fn exports_are_complete() {
    let arch = run(&["sample"]).stdout;
    let export = |format: &[&str]| {
        run(&[&["export", "--arch", arch.trim(), "--format"], format].concat()).stdout
    };
    let json: Architecture = export(&["json"]).parse().unwrap();
    assert_eq!(json.hash(), arch.trim().parse::<Architecture>().unwrap().hash());
    assert!(export(&["dot"]).starts_with("digraph"));
    assert!(export(&["svg"]).starts_with("<svg"));
    let network: ghnas_core::Network =
        serde_json::from_str(&export(&["json", "--lowered"])).unwrap();
    assert_eq!(network.classes(), 10);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("block.svg");
    let out = out.to_str().unwrap();
    let report =
        run(&["export", "--arch", arch.trim(), "--format", "svg", "--out", out, "--json"]).json();
    assert_eq!(report["path"], out);
    assert!(std::fs::read_to_string(out).unwrap().ends_with("</svg>\n"));
}

#[test]
fn config_show_names_the_source_of_each_value() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("study.toml");
    std::fs::write(&file, "[train]\nsteps = 77\n").unwrap();
    let set = ["--set", "search.top=3", "--preset", "paper", "--seed", "9"];
    let shown =
        run(&[&["config", "show", "-c", file.to_str().unwrap(), "--json"][..], &set].concat());
    let leaves = shown.json();
    let leaf = |key: &str| {
        let found = leaves.as_array().unwrap().iter().find(|leaf| leaf["key"] == key);
        let found = found.unwrap_or_else(|| panic!("{key} is missing"));
        (
            found["value"].as_str().unwrap().to_string(),
            found["source"].as_str().unwrap().to_string(),
        )
    };
    assert_eq!(leaf("train.steps").0, "77");
    assert!(leaf("train.steps").1.contains("study.toml"));
    assert_eq!(leaf("search.top"), ("3".into(), "flag --set search.top=3".into()));
    assert_eq!(leaf("train.batch"), ("64".into(), "default".into()));
    assert_eq!(leaf("space.settings.channels"), ("32".into(), "preset paper".into()));
    assert_eq!(leaf("seed").0, "9");
}

#[test]
fn a_bench_measures_and_its_tensors_hold_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("step.safetensors");
    let quick = ["--set", "space.settings.blocks=1", "--set", "space.settings.reduce_after=[]"];
    let tensors = ["--batch", "4", "--runs", "2", "--tensors", file.to_str().unwrap(), "--json"];
    let report = run(&[&["bench", "step"][..], &quick, &tensors].concat()).json();
    assert!(report["network"]["median_ms"].as_f64().unwrap() > 0.0);
    let bytes = std::fs::read(&file).unwrap();
    let held = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(held.tensor("images").unwrap().shape(), [4, 3, 32, 32]);
    assert!(held.tensor("gradient.0").is_ok() && held.tensor("logits").is_ok());
    let score = ["bench", "score", "--runs", "1", "--set", "search.images=50", "--json"];
    let report = run(&[&score[..], &quick].concat()).json();
    assert!(report["evaluate"]["median_ms"].as_f64().unwrap() > 0.0);
    assert!(report["evaluate"]["peak_fraction"].as_f64().unwrap() > 0.0);
    let ops = ["bench", "ops", "--batch", "2", "--runs", "1", "--json"];
    let report = run(&[&ops[..], &quick].concat()).json();
    let rows = report["ops"].as_array().unwrap();
    // Each shape has two passes; a batch norm also stands with the rectification behind it.
    let count = |name: &str| {
        rows.iter().filter(|row| row["name"].as_str().unwrap().starts_with(name)).count()
    };
    assert!(count("conv 1x1") >= 2 && count("batch norm") >= 4, "{report}");
    assert!(rows.iter().all(|row| row["median_ms"].as_f64().unwrap() >= 0.0));
}
