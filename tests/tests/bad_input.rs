//! Whatever is wrong with what it is given, the binary says so in one error and leaves everything
//! as it was.

use std::fs;
use std::path::Path;

use ghnas_tests::binary::{command, run};

const QUICK: [&str; 10] = [
    "--set",
    "train.steps=2",
    "--set",
    "train.batch=4",
    "--set",
    "space.settings.blocks=1",
    "--set",
    "space.settings.reduce_after=[]",
    "--set",
    "search.candidates=1",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn configurations_name_the_key_and_what_was_expected() {
    let show = |set: &str| run(&["config", "show", "--set", set]);
    show("train.stepz=5").assert_fails(2, &["train.stepz", "did you mean 'train.steps'?"]);
    show("train.steps=many").assert_fails(2, &["train.steps", "many"]);
    show("train.steps=0").assert_fails(2, &["train.steps", "expected"]);
    show("train.learning_rate=-1").assert_fails(2, &["train.learning_rate"]);
    show("space.id=cel").assert_fails(2, &["space.id", "did you mean 'cell'?"]);
    show("space.preset=desktop").assert_fails(2, &["space.preset", "laptop"]);
    show("space.settings.node=3").assert_fails(2, &["space.settings.node", "nodes"]);
    show("nonsense").assert_fails(2, &["key.path=value"]);
    show("generator.settings.roundz=3").assert_fails(2, &["generator.settings.rounds"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    fs::write(&file, "seed = 1\n[train]\nsteps = 5\nstep = 6\n").unwrap();
    run(&["config", "show", "-c", text(&file)])
        .assert_fails(2, &["wrong.toml, line 4", "train.step", "train.steps"]);
    fs::write(&file, "seed = = 1\n").unwrap();
    run(&["config", "show", "-c", text(&file)]).assert_fails(2, &["wrong.toml, line 1"]);
    run(&["config", "show", "-c", "missing.toml"]).assert_fails(2, &["missing.toml"]);
}

#[test]
fn settings_that_only_the_space_knows_leave_no_study_behind() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let search = |set: &str| run(&["search", "--study", text(&study), "--set", set]);
    search("space.settings.nodes=1").assert_fails(2, &["nodes = 1", "3 to 128"]);
    search(r#"space.settings.operations=["conv_2x2"]"#).assert_fails(2, &["conv_2x2", "conv_1x1"]);
    search("search.images=100000").assert_fails(2, &["search.images"]);
    assert!(!study.exists());
}

#[test]
fn architectures_name_the_node() {
    let block = |nodes: &str| {
        format!(
            r#"{{"schema":1,"space":"cell","motifs":[{{"name":"cell","nodes":[
            {{"op":"input","attributes":{{"index":0}}}},
            {{"op":"input","attributes":{{"index":1}}}},{nodes}]}}]}}"#
        )
    };
    let inspect = |arch: &str| run(&["inspect", "--arch", arch]);
    inspect(&block(r#"{"op":"sep_conv3x3","inputs":[0]}"#))
        .assert_fails(1, &["node 2", "sep_conv3x3", "did you mean 'sep_conv_3x3'?"]);
    inspect(&block(r#"{"op":"identity","inputs":[3]},{"op":"identity","inputs":[2]}"#))
        .assert_fails(1, &["node 2", "cycle"]);
    inspect(&block(r#"{"op":"identity"}"#)).assert_fails(1, &["node 2", "reads nothing"]);
    inspect(&block(r#"{"op":"identity","inputs":[9]}"#)).assert_fails(1, &["node 2", "9"]);
    inspect(r#"{"schema":7,"space":"cell","motifs":[]}"#).assert_fails(1, &["schema 7"]);
    inspect(r#"{"schema":1,"space":"tree","motifs":[]}"#).assert_fails(1, &["'tree'"]);
    inspect(r#"{"schema":1,"#).assert_fails(1, &["not an architecture"]);
    inspect("no-such-file.json").assert_fails(1, &["no-such-file.json"]);
}

#[test]
fn data_files_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let search = || {
        let dir = format!("data.dir={}", text(&data));
        run(&["search", "--study", text(&study), "--set", &dir])
    };
    search().assert_fails(1, &["data_batch_1.bin", "ghnas data fetch cifar10"]);
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"] {
        fs::write(data.join(format!("{name}.bin")), vec![0; 3073 * 10_000]).unwrap();
    }
    fs::write(data.join("test_batch.bin"), vec![0; 3073 * 10_000]).unwrap();
    fs::write(data.join("data_batch_3.bin"), vec![0; 3073 * 10_000 - 5]).unwrap();
    search().assert_fails(1, &["data_batch_3.bin"]);
    let mut wrong = vec![0; 3073 * 10_000];
    wrong[3073 * 17] = 10;
    fs::write(data.join("data_batch_3.bin"), wrong).unwrap();
    search().assert_fails(1, &["data_batch_3.bin", "17", "10"]);
    assert!(!study.exists());
    run(&["data", "check", "--dir", text(&data)]).assert_fails(1, &["data_batch_"]);
}

#[test]
fn a_damaged_or_newer_study_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let search =
        |more: &[&str]| run(&[&["search", "--study", text(&study)][..], &QUICK, more].concat());
    assert_eq!(search(&[]).code, Some(0));
    search(&[]).assert_fails(1, &["holds a study already", "--resume"]);
    search(&["--resume", "--set", "train.learning_rate=0.5"])
        .assert_fails(2, &["train.learning_rate"]);

    let checkpoint = study.join("generator.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&checkpoint, &damaged).unwrap();
    search(&["--resume"]).assert_fails(1, &["generator.safetensors"]);
    fs::write(&checkpoint, &whole[..whole.len() - 7]).unwrap();
    search(&["--resume"]).assert_fails(1, &["generator.safetensors"]);
    fs::write(&checkpoint, &whole).unwrap();
    assert_eq!(search(&["--resume"]).code, Some(0));

    let store = study.join("study.db");
    let connection = rusqlite::Connection::open(&store).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    connection.close().unwrap();
    let before = fs::read(&store).unwrap();
    search(&["--resume"]).assert_fails(1, &["study.db", "schema 99", "later release"]);
    assert!(fs::read(&store).unwrap() == before, "the store was touched");
    fs::write(&store, b"not a database at all").unwrap();
    search(&["--resume"]).assert_fails(1, &["study.db"]);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let below = file.join("study");
    let search = [&["search", "--study", text(&below)][..], &QUICK].concat();
    run(&search).assert_fails(1, &[text(&below)]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
    let search = [&["search", "--study", text(folder.path())][..], &QUICK].concat();
    run(&search).assert_fails(1, &["'file'", "empty directory"]);
    run(&["rank", "--study", text(&below), "--archs", "none"]).assert_fails(1, &["no study"]);
}

#[test]
fn a_cuda_device_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let search = ["search", "--study", text(&study), "--device", "cuda:0"];
    run(&search).assert_fails(2, &["CUDA"]);
    run(&["config", "show", "--device", "gpu"]).assert_fails(2, &["cuda:0"]);
    assert!(!study.exists());
}

#[test]
fn a_closed_pipe_ends_the_output_without_a_word() {
    let mut child = command(&["sample", "-n", "5000"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
