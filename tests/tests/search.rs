//! `ghnas search` from end to end on the built-in images: results, interruption, resumption.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ghnas_tests::binary::{Run, run, start};
use rusqlite::types::Value;

/// A search of seconds: small blocks, few steps, few images.
const SMALL: [&str; 14] = [
    "--set",
    "space.settings.blocks=3",
    "--set",
    "space.settings.reduce_after=[1,2]",
    "--set",
    "space.settings.channels=4",
    "--set",
    "train.batch=16",
    "--set",
    "train.steps=24",
    "--set",
    "search.images=60",
    "--set",
    "search.candidates=6",
];

fn search(study: &Path, more: &[&str]) -> Vec<String> {
    let study = study.to_str().unwrap();
    let words = ["search", "--study", study].into_iter().chain(SMALL).chain(more.iter().copied());
    words.map(String::from).collect()
}

fn run_search(study: &Path, more: &[&str]) -> Run {
    run(&search(study, more).iter().map(String::as_str).collect::<Vec<_>>())
}

/// Every row of every table but the timings, and the checkpoint's bytes.
fn content(study: &Path) -> (Vec<Vec<Value>>, Vec<u8>) {
    let store = rusqlite::Connection::open(study.join("study.db")).unwrap();
    let mut rows = Vec::new();
    for table in ["meta", "training_steps", "candidates"] {
        let mut query = store.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = query.column_count();
        let mut found = query.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values = (0..columns).map(|column| row.get::<_, Value>(column).unwrap());
            rows.push([Value::Text(table.into())].into_iter().chain(values).collect());
        }
    }
    (rows, std::fs::read(study.join("generator.safetensors")).unwrap())
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (content(one), content(other));
    assert_eq!(one.0, other.0);
    assert!(one.1 == other.1, "the checkpoints differ");
}

#[test]
fn a_search_reports_what_its_contract_promises() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let report = run_search(&study, &["--json"]).json();
    assert_eq!(report["candidates"], 6);
    assert_eq!(report["generator"]["id"], "ghn");
    assert_eq!(report["generator"]["steps"], 24);
    assert!(report["seconds"]["train"].as_f64().unwrap() > 0.0);
    assert!(report["seconds"]["score"].as_f64().unwrap() > 0.0);
    let top = report["top"].as_array().unwrap();
    assert!(!top.is_empty());
    let losses: Vec<f64> = top.iter().map(|row| row["loss"].as_f64().unwrap()).collect();
    assert!(losses.is_sorted(), "{losses:?}");
    for (index, row) in top.iter().enumerate() {
        let hash: String = row["hash"].as_str().unwrap().chars().take(10).collect();
        for ending in ["svg", "json"] {
            let name = format!("{:02}-{hash}.{ending}", index + 1);
            assert!(study.join("top").join(&name).is_file(), "{name}");
        }
        assert!(row["params"].as_u64().unwrap() > 0 && row["multiply_adds"].as_u64().unwrap() > 0);
    }

    // The same architectures, ranked again, have the same scores.
    let archs = folder.path().join("archs.jsonl");
    let lines: Vec<String> = top.iter().map(|row| row["arch"].to_string()).collect();
    std::fs::write(&archs, lines.join("\n")).unwrap();
    let csv = folder.path().join("rows.csv");
    let rank = ["rank", "--study", study.to_str().unwrap(), "--archs", archs.to_str().unwrap()];
    let ranked = run(&[&rank[..], &["--json", "--out", csv.to_str().unwrap()]].concat()).json();
    assert_eq!(ranked.as_array().unwrap(), top);
    let lines = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(lines.lines().count(), 1 + top.len());
    assert!(lines.starts_with("hash,loss,accuracy,params,multiply_adds,arch,error"));

    // On other images they have others, and the study is as it was.
    let images = run(&[&rank[..], &["--json", "--set", "search.images=30"]].concat()).json();
    assert_eq!(images.as_array().unwrap().len(), top.len());
    assert_ne!(images[0]["loss"], ranked[0]["loss"]);
    let other = [&rank[..], &["--set", "train.steps=9"]].concat();
    run(&other).assert_fails(2, &["begun with another train.steps"]);
    assert_eq!(run(&[&rank[..], &["--json"]].concat()).json(), ranked);

    // The front falls in loss while multiply-adds rise, and is drawn.
    let front = report["front"].as_array().unwrap();
    let column = |key: &str| front.iter().map(|row| row[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert!(column("multiply_adds").is_sorted() && column("loss").is_sorted_by(|a, b| a > b));
    assert!(front.iter().any(|row| row["hash"] == top[0]["hash"]));
    let svg = std::fs::read_to_string(study.join("top/front.svg")).unwrap();
    assert!(svg.contains("Pareto front") && svg.contains(top[0]["hash"].as_str().unwrap()));

    // What a person reads names the data, the table and the best block.
    let text = run_search(&study, &["--resume"]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stderr.contains("built-in excerpt"), "{}", text.stderr);
    assert!(text.stdout.contains("multiply-adds") && text.stdout.contains("best cell"));
}

#[test]
fn one_seed_gives_one_result_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, other] = ["one", "two", "other"].map(|name| folder.path().join(name));
    assert_eq!(run_search(&one, &["--threads", "1"]).code, Some(0));
    assert_eq!(run_search(&two, &["--threads", "2"]).code, Some(0));
    assert_same(&one, &two);
    assert_eq!(run_search(&other, &["--seed", "1"]).code, Some(0));
    assert_ne!(content(&one).1, content(&other).1);
}

/// Waits until the process ends or the study has trained a little, then sends `signal`.
fn interrupt_with(signal: &str, study: &Path, pause: Duration) -> Run {
    let words = search(study, &["--resume", "--set", "train.checkpoint_seconds=0.05"]);
    let mut child = start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let begun = Instant::now();
    while !study.join("generator.safetensors").exists() && begun.elapsed().as_secs() < 60 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        sleep(Duration::from_millis(2));
    }
    sleep(pause);
    let kill = ["-s", signal, &child.id().to_string()].map(String::from);
    // The process may have ended by itself by now; that is fine.
    let _ = Command::new("kill").args(kill).status().unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn killed_and_interrupted_searches_resume_to_the_bytes_of_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert_eq!(run_search(&whole, &["--set", "train.checkpoint_seconds=0.05"]).code, Some(0));
    let broken = folder.path().join("broken");
    let mut polite = 0;
    for (index, signal) in ["INT", "KILL", "TERM", "KILL", "INT", "KILL"].iter().enumerate() {
        let run = interrupt_with(signal, &broken, Duration::from_millis(40 * index as u64));
        if run.code == Some(130) {
            polite += 1;
            assert!(run.stderr.contains("the state is saved"), "{}", run.stderr);
        }
    }
    assert!(polite > 0, "no signal came in time");
    let end = run_search(&broken, &["--resume", "--set", "train.checkpoint_seconds=0.05"]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_same(&whole, &broken);
}

#[test]
fn a_budget_is_kept_and_its_plan_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let begun = Instant::now();
    let report =
        run_search(&study, &["--json", "--budget", "6s", "--set", "train.steps=1000000"]).json();
    // The bound is loose, since other tests share the machine; the plan is what is tested.
    assert!(begun.elapsed().as_secs() < 30);
    let steps = report["generator"]["steps"].as_u64().unwrap();
    assert!((1..1_000_000).contains(&steps));
    assert_eq!(report["candidates"], 6);
}

#[test]
fn what_successive_halving_promotes_is_trained_from_scratch() {
    let folder = tempfile::tempdir().unwrap();
    let halving =
        ["--json", "--set", "searcher.id=successive-halving", "--set", "search.rungs=[2, 4]"];
    let settings =
        ["initial=4", "eta=2", "rungs=3"].map(|text| format!("searcher.settings.{text}"));
    let settings = settings.iter().flat_map(|text| ["--set", text.as_str()]);
    let settings: Vec<&str> = settings.chain(["--set", "search.candidates=7"]).collect();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let report = run_search(&one, &[&halving[..], &settings, &["--threads", "1"]].concat()).json();
    assert_eq!(report["top"][0]["rung"], 2, "{report}");
    let search = run_search(&two, &[&halving[..], &settings, &["--threads", "2"]].concat());
    assert_eq!(search.code, Some(0), "{}", search.stderr);
    assert_same(&one, &two);
    let none = folder.path().join("none");
    let without = run_search(&none, &[&halving[..3], &settings].concat());
    let expected = "'successive-halving' asks for rung 1, but search.rungs has 0";
    without.assert_fails(1, &[expected]);
}

#[test]
fn bananas_on_embeddings_goes_on_to_the_bytes_of_a_search_that_was_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let study = |name: &str| folder.path().join(name);
    let settings = ["initial=3", "batch=2", "candidates=4", "epochs=10", "encoding=embedding"];
    let settings = settings.map(|text| format!("searcher.settings.{text}"));
    let always = settings.iter().flat_map(|text| ["--set", text.as_str()]);
    let always: Vec<&str> = always.chain(["--set", "searcher.id=bananas"]).collect();
    let search = |name: &str, candidates: u64, more: &[&str]| {
        let candidates = format!("search.candidates={candidates}");
        let words = [&always[..], &["--set", &candidates], more].concat();
        let run = run_search(&study(name), &words);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    };
    search("whole", 11, &["--threads", "1"]);
    // Left with chosen architectures in the queue, and with none.
    search("left", 4, &["--threads", "2"]);
    search("left", 9, &["--threads", "1", "--resume"]);
    search("left", 11, &["--threads", "2", "--resume"]);
    assert_same(&study("whole"), &study("left"));
    search("paths", 11, &["--set", "searcher.settings.encoding=paths"]);
    assert_ne!(content(&study("whole")).0, content(&study("paths")).0);

    let none =
        run_search(&study("none"), &[&always[..], &["--set", "generator.id=one-shot"]].concat());
    let expected =
        "'bananas': encoding = \"embedding\": weight generator 'one-shot' has no embeddings";
    none.assert_fails(2, &[expected]);
    assert!(!study("none").exists(), "it is refused before training");
}

/// References, members and variants are the same ones however often the search is left.
#[test]
fn an_ensemble_with_references_goes_on_to_the_bytes_of_a_search_that_was_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, broken] = ["whole", "broken"].map(|name| folder.path().join(name));
    let ensemble = [
        "--set",
        "generator.id=ensemble",
        "--set",
        "generator.settings.members=2",
        "--set",
        "generator.settings.settings={average = 0.9, identity = 0.5}",
        "--set",
        "search.images=30",
        "--set",
        "search.references=4",
        "--set",
        "search.reference_images=60",
        "--set",
        "search.calibrate=true",
        "--set",
        "search.variants=[{ settings = { blocks = 4 }, share = 0.2, images = 10 }]",
    ];
    let with = |more: &[&'static str]| [&ensemble[..], more].concat();
    assert_eq!(run_search(&whole, &with(&["--threads", "1"])).code, Some(0));
    let fewer = ["--threads", "2", "--set", "search.candidates=3"];
    assert_eq!(run_search(&broken, &with(&fewer)).code, Some(0));
    let end = run_search(&broken, &with(&["--threads", "2", "--resume"]));
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_same(&whole, &broken);
    let wrong = run_search(&whole, &["--set", "generator.settings.settings.average=2"]);
    wrong.assert_fails(2, &["generator.settings.settings.average"]);
    let settings =
        ["--set", "generator.id=ensemble", "--set", "generator.settings.settings.wing=2"];
    run_search(&folder.path().join("wrong"), &settings).assert_fails(2, &["wing"]);
}
