//! Nothing that ranks reads test images or ground truth: methods of a comparison score the same
//! bytes whatever the truth says, and where no test images exist. (The types say so too: see the
//! examples that do not compile in `apps/engine/src/data/set.rs`.)

use std::collections::BTreeMap;
use std::path::Path;

use ghnas_tests::binary::run;
use serde_json::Value;

/// Ground truth of the cell space that ships with the project.
const SHIPPED: &str = include_str!("../../truth/cell-tiny.jsonl");

/// Architectures of it that are scored.
const ARCHITECTURES: usize = 8;

/// The shipped truth's recipe, and one method of each kind, as short as it can be.
const CONFIG: &str = r#"
space.preset = "tiny"
search = { images = 20, batch = 250 }
comparison.resamples = 100

[truth]
archs = 8
seeds = 2
generator.id = "sgd-steps"
generator.settings.sgd = { momentum = 0.9, weight_decay = 5e-4 }
train = { steps = 2000, batch = 32, learning_rate = 0.2, schedule = "cosine" }

[methods]
ghn = { generator.id = "ghn", train.steps = 2, train.batch = 4 }
one-shot = { generator.id = "one-shot", train.steps = 2, train.batch = 4 }
sgd = { generator.id = "sgd-steps", snapshots = [0, 1], train.batch = 4 }
naswot = { proxy = "naswot", search.batch = 8 }
"#;

/// CIFAR-10's layout with drawn pixels, and no test images.
fn images(dir: &Path) {
    let record = |at: usize| {
        let pixel = move |place: usize| ((at * 31 + place * 7 + at * place % 13) % 251) as u8;
        std::iter::once((at % 10) as u8).chain((0..3072).map(pixel))
    };
    let batch: Vec<u8> = (0..10_000).flat_map(record).collect();
    for number in 1..=5 {
        std::fs::write(dir.join(format!("data_batch_{number}.bin")), &batch).unwrap();
    }
}

/// The first runs of the shipped truth, each row changed by `change`.
fn truth(change: impl Fn(&mut Value)) -> String {
    let mut lines = SHIPPED.lines();
    let header = lines.next().unwrap().to_owned();
    let mut hashes = Vec::new();
    let mut text = header + "\n";
    for line in lines {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let hash = row["hash"].to_string();
        if !hashes.contains(&hash) {
            hashes.push(hash.clone());
        }
        if hashes.iter().take(ARCHITECTURES).any(|known| *known == hash) {
            change(&mut row);
            text += &format!("{row}\n");
        }
    }
    text
}

/// What every method scored, without the times.
fn scores(dir: &Path, truth: &str) -> BTreeMap<String, Value> {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(path("config.toml"), CONFIG).unwrap();
    std::fs::write(path("truth.jsonl"), truth).unwrap();
    let (config, study) = (path("config.toml"), path("study"));
    let file = format!("truth.file={}", path("truth.jsonl"));
    let data = format!("data.dir={}", dir.display());
    let words = ["correlate", "-c", &config, "--set", &data, "--set", &file, "--study", &study];
    let outcome = run(&[&words[..], &["--json", "--quiet"]].concat()).json();
    assert_eq!(outcome["architectures"], ARCHITECTURES);
    ["ghn", "one-shot", "random-init"].iter().for_each(|name| {
        let methods = outcome["methods"].as_array().unwrap();
        assert!(methods.iter().any(|method| method["name"] == *name), "{name}");
    });
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(path("study")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".scores.json") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let mut file: Value = serde_json::from_str(&text).unwrap();
            without_times(&mut file);
            all.insert(name, file);
        }
    }
    all
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|key, _| !key.ends_with("seconds"));
            entries.values_mut().for_each(without_times);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn scores_depend_on_neither_test_images_nor_truth() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path());
    let before = scores(dir.path(), &truth(|_| {}));
    let reversed = truth(|row| {
        let accuracy = row["accuracy"].as_f64().unwrap();
        row["accuracy"] = (1.0 - accuracy).into();
    });
    assert_ne!(reversed, truth(|_| {}));
    assert_eq!(scores(dir.path(), &reversed), before);
}
