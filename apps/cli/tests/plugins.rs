//! `ghnas plugins` through the binary: the guide, new plugins of every kind, trust, checks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ghnas_core::{NetworkBuilder, Task, ValueId};
use tempfile::TempDir;

/// A user without plugins.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// A program as this user runs it, in the user's home.
    fn command(&self, program: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_ghnas"));
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.home.path())
            .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .env_remove("GHNAS_PLUGIN_PATH")
            // What every new plugin depends on is compiled once, and nothing is fetched.
            .env("CARGO_BUILD_BUILD_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins"))
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR");
        command
    }

    fn ghnas(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_ghnas")).args(arguments).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let output = self.ghnas(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", all_text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Begins a plugin whose code `change` makes of the example's.
    fn new_plugin(&self, kind: &str, name: &str, change: impl FnOnce(String) -> String) {
        let sources = root();
        let sources = sources.to_str().unwrap();
        self.does(&["plugins", "new", "--kind", kind, name, "--sources", sources]);
        self.change_plugin(name, change);
    }

    /// Writes other code.
    fn change_plugin(&self, name: &str, change: impl FnOnce(String) -> String) {
        let file = self.home.path().join(name).join("src/lib.rs");
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
    }

    /// Runs a command of cargo in a plugin's folder.
    fn cargo(&self, name: &str, command: &str) {
        let mut cargo = self.command(env!("CARGO"));
        let output = cargo.arg(command).current_dir(self.home.path().join(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", all_text(&output));
    }

    /// Builds a plugin; its library.
    fn build(&self, name: &str) -> String {
        self.cargo(name, "build");
        format!("{name}/target/debug/lib{}.so", name.replace('-', "_"))
    }

    /// A command that must fail with an exit code and say `part`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, part: &str) {
        let output = self.ghnas(arguments);
        let text = all_text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(part), "{text}\nlacks: {part}");
    }
}

fn all_text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The library of a crate that is a dependency of this test: cargo puts it beside.
fn library(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().join(format!("lib{name}.so"));
    path.to_str().unwrap().into()
}

/// The library with every fault, compiled with one space.
fn faulty(entry: &str) -> (TempDir, String) {
    compiled(&["ONLY_SPACES", &format!("ENTRIES=ENTRY(\"{entry}\")")])
}

/// The library with every fault, whose architectures are lowered to a network that can be run.
fn runnable() -> (TempDir, String) {
    let Task { image, classes } = Task::CIFAR10;
    let mut network = NetworkBuilder::new(image, classes);
    network.module("body");
    let value = network.node("relu", vec![], true).relu(ValueId::IMAGES).unwrap();
    network.classifier(value, image.channels).unwrap();
    let json = serde_json::to_string(&network.finish().unwrap()).unwrap();
    // As Rust quotes: its escapes are C's.
    compiled(&[&format!("NETWORK={json:?}")])
}

fn compiled(defines: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libfaulty.so");
    let plugins = root().join("plugins");
    let status = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC"])
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg("-I")
        .arg(plugins.join("abi/include"))
        .arg(plugins.join("host/tests/plugins/faulty.c"))
        .arg("-o")
        .arg(&library)
        .status();
    assert!(status.unwrap().success());
    let path = library.to_str().unwrap().into();
    (folder, path)
}

/// Few steps and candidates, over the smallest set-up.
const SHORT: [&str; 8] = [
    "--set",
    "train.steps=4",
    "--set",
    "train.batch=8",
    "--set",
    "search.candidates=12",
    "--set",
    "search.images=20",
];

/// Every `sh` block of docs/plugins.md, one after the other in one shell.
#[test]
fn the_guide_is_followed_literally() {
    let user = User::new();
    let text = std::fs::read_to_string(root().join("docs/plugins.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    let script: String = blocks.map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(script.contains("ghnas search"), "{script}");
    let output = user.command("sh").args(["-euxc", &script]).output().unwrap();
    assert!(output.status.success(), "{}", all_text(&output));
    let text = all_text(&output);
    for part in ["my-space", "trusted", "test conformance ... ok", "\"space\":\"my-space\""] {
        assert!(text.contains(part), "{text}\nlacks: {part}");
    }
}

#[test]
fn new_plugins_of_every_kind_build_conform_and_are_used() {
    let user = User::new();
    user.does(&["plugins", "install", &library("ghnas_space_cell")]);
    user.does(&["plugins", "install", &library("ghnas_example_space")]);
    let operations = "space.settings.operations=[\"conv_1x1\",\"my-operation\"]";
    let small = [
        "space.settings.nodes=4",
        "space.settings.train_nodes=4",
        "space.settings.blocks=1",
        "space.settings.reduce_after=[]",
    ];
    for (kind, name, how) in [
        ("search-space", "my-space", vec!["space.id=my-space"]),
        ("operation", "my-operation", [&["space.id=cell", operations][..], &small].concat()),
        ("searcher", "my-searcher", vec!["searcher.id=my-searcher"]),
        ("propagator", "my-propagator", vec!["generator.settings.propagator=my-propagator"]),
        ("weight-generator", "my-generator", vec!["generator.id=my-generator"]),
    ] {
        user.new_plugin(kind, name, |code| code);
        user.cargo(name, "test");
        let built = user.build(name);
        user.does(&["plugins", "install", &built]);
        assert!(user.does(&["plugins", "info", name]).contains(&format!("{kind} '{name}'")));
        let study = format!("study-{name}");
        let mut arguments = vec!["search", "--json", "--study", &study];
        arguments.extend(SHORT);
        if kind != "search-space" && kind != "operation" {
            arguments.extend(["--space", "example-space"]);
        }
        arguments.extend(how.iter().flat_map(|set| ["--set", set]));
        let report: serde_json::Value = serde_json::from_str(&user.does(&arguments)).unwrap();
        assert_eq!(report["candidates"], 12, "{report}");
        assert_eq!(report["failed"], 0, "{report}");
    }
    user.fails(&["plugins", "new", "--kind", "searcher", "my-searcher"], 2, "exists already");
    user.fails(&["plugins", "new", "--kind", "searcher", "Test"], 2, "cannot be a plugin's name");
}

#[test]
fn nothing_runs_untrusted() {
    let user = User::new();
    let example = library("ghnas_example_space");
    user.does(&["plugins", "install", "--to", "shared", &example]);
    let sample = ["--plugin-dir", "shared", "sample", "--space", "example-space"];
    user.fails(&sample, 2, "'ghnas-example-space'");
    user.fails(&sample, 2, "is not trusted");
    let list = ["--plugin-dir", "shared", "plugins", "list", "--json"];
    let state = |text: String| {
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document[0]["state"].as_str().unwrap().to_string()
    };
    assert_eq!(state(user.does(&list)), "not trusted");
    user.does(&["plugins", "trust", "shared/ghnas-example-space"]);
    assert_eq!(state(user.does(&list)), "trusted");
    assert!(user.does(&sample).contains("\"space\":\"example-space\""));
    // Not where it was not named: the working directory is no place for plugins.
    user.fails(&["sample", "--space", "example-space"], 2, "unknown search space");
    let file = user.home.path().join("shared/ghnas-example-space/libghnas_example_space.so");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.push(0);
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(state(user.does(&list)), "changed");
    user.fails(&["plugins", "trust", "shared/ghnas-example-space"], 3, "its manifest says");
    user.fails(&["plugins", "trust", "ghnas-example-spac"], 2, "no plugin");
}

#[test]
fn a_plugin_that_dies_is_a_line_of_the_report() {
    let user = User::new();
    let text = user.does(&["plugins", "check", &library("ghnas_example_space")]);
    assert!(text.contains("ok      search-space 'example-space': same seed"), "{text}");
    let (_folder, path) = faulty("abort");
    user.fails(&["plugins", "check", &path], 3, "the process died of signal 6");
    user.fails(&["plugins", "check", &path], 3, &format!("plugin 'faulty' ({path}): "));
    let (_folder, path) = faulty("cyclic");
    user.fails(&["plugins", "check", &path], 3, "lies on a cycle");
    user.fails(
        &["plugins", "check", &root().join("ARCHITECTURE.md").display().to_string()],
        3,
        "not ELF",
    );
}

#[test]
fn a_stack_overflow_in_a_plugin_is_a_line_of_the_report() {
    let user = User::new();
    // The plugin never comes to the end of its own recursion.
    user.new_plugin("search-space", "deep", |code| {
        let changed = code.replace(
            "        (0..4).map(op).collect()",
            "        let nodes: Vec<MotifNode> = (0..4).map(op).collect();
        fn depth(nodes: &[MotifNode]) -> usize {
            let copy = nodes.to_vec();
            1 + std::hint::black_box(depth(std::hint::black_box(&copy)))
        }
        nodes[..depth(&nodes).min(4)].to_vec()",
        );
        assert_ne!(changed, code);
        changed
    });
    let library = user.build("deep");
    let check = "search-space 'deep': same seed, same architecture, on every thread: ";
    let words = format!("{check}the process died of signal 6");
    user.fails(&["plugins", "check", &library], 3, &words);
    user.fails(&["plugins", "check", &library], 3, &format!("plugin 'deep' ({library}): 1 of "));
}

#[test]
fn a_plugin_that_never_comes_back_is_ended() {
    let user = User::new();
    let (_folder, path) = faulty("loop");
    let check = ["plugins", "check", &path, "--timeout", "2s"];
    let begun = "search-space 'loop': a malformed request is refused, and the next one served: ";
    user.fails(&check, 3, &format!("{begun}no end after 2 s; the process was ended"));
    user.fails(&check, 3, &format!("error: plugin 'faulty' ({path}): "));
    let (_folder, path) = compiled(&["LOADS_FOR_EVER"]);
    let check = ["plugins", "check", &path, "--timeout", "1s"];
    let words = format!("error: plugin {path}: while it was loaded: no end after 1 s");
    user.fails(&check, 3, &words);
}

#[test]
fn a_plugin_of_unknown_interfaces_alone_is_named() {
    let user = User::new();
    let (_folder, path) = compiled(&["ONLY_SPACES", "SPACE_INTERFACE=\"ghnas.dreams/3\""]);
    let words = format!("plugin 'faulty' ({path}): it offers only ghnas.dreams/3");
    user.fails(&["plugins", "info", &path], 3, &words);
}

/// The candidates of a plugin that panics have no score; a broken plugin beside it is a warning.
#[test]
fn faults_of_plugins_have_their_own_exit_code_and_stop_nobody_else() {
    let user = User::new();
    let (_folder, path) = faulty("panic");
    user.does(&["plugins", "install", &path]);
    let call = "plugin 'faulty' (";
    user.fails(&["sample", "--space", "panic"], 3, call);
    user.fails(&["sample", "--space", "panic"], 3, "search-space 'panic', sample: it panicked");
    user.does(&["plugins", "install", &library("ghnas_example_space")]);
    let broken = user.home.path().join("data/ghnas/plugins/broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("plugin.toml"), "id = \"broken\"").unwrap();
    let output = user.ghnas(&["sample", "--space", "example-space"]);
    let text = all_text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("broken/plugin.toml"), "{text}");
}

/// Panics, garbage and cyclic graphs for three architectures in ten.
#[test]
fn a_study_goes_on_past_what_a_plugin_cannot_do_with() {
    let user = User::new();
    let (_folder, path) = runnable();
    user.does(&["plugins", "install", &path]);
    let many = ["--set", "train.steps=40", "--set", "search.candidates=60"];
    let search = ["search", "--space", "shaky", "--json", "--study"];
    let run = |study| {
        let arguments = [&search[..], &[study], &SHORT, &many].concat();
        let output = user.ghnas(&arguments);
        assert!(output.status.success(), "{}", all_text(&output));
        let words = String::from_utf8(output.stderr).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (report, words)
    };
    let (report, words) = run("one");
    let number = |report: &serde_json::Value| report.as_u64().unwrap();
    assert_eq!(number(&report["candidates"]), 60, "{report}");
    assert!((5..40).contains(&number(&report["failed"])), "{report}");
    assert!((2..30).contains(&number(&report["generator"]["skipped"])), "{report}");
    assert_eq!(report["top"].as_array().unwrap().len(), 2, "there are two architectures");
    for begin in ["training step ", "candidate "] {
        let told = words.lines().filter(|line| line.starts_with(begin));
        let told: Vec<&str> = told.filter(|line| line.contains("plugin")).collect();
        assert_eq!(told.len(), 1, "{words}");
        for part in ["plugin 'faulty' (", "libfaulty.so), search-space 'shaky', sample: "] {
            assert!(told[0].contains(part), "{told:?}");
        }
    }
    let again = run("two").0;
    for key in ["failed", "top"] {
        assert_eq!(report[key], again[key]);
    }
}

#[test]
fn a_search_ends_where_a_plugin_has_nothing_more_to_give() {
    let user = User::new();
    let (_folder, path) = runnable();
    user.does(&["plugins", "install", &path]);
    let search = |study, more: &[&'static str]| {
        [&["search", "--study", study][..], &SHORT, &["--set", "train.steps=100"], more].concat()
    };
    let call = "search-space 'panic', sample: it panicked 32 times in a row and is given up";
    user.fails(&search("space", &["--space", "panic"]), 3, call);
    let call = "searcher 'panicking', suggest: it panicked: out of ideas";
    let searcher = ["--space", "shaky", "--set", "searcher.id=panicking"];
    user.fails(&search("searcher", &searcher), 3, call);
}

/// A generator that panics loses its state: the study keeps the last checkpoint, and goes on from
/// it to the results that it would have had.
#[test]
fn a_study_is_resumed_once_its_plugin_is_repaired() {
    let user = User::new();
    user.does(&["plugins", "install", &library("ghnas_example_space")]);
    let (name, mut right) = ("my-generator", String::new());
    user.new_plugin("weight-generator", name, |code| {
        right.clone_from(&code);
        code
    });
    let install = |before: &str, panic: &str| {
        let broken = right.replacen(before, &format!("{panic}{before}"), 1);
        assert_eq!(broken == right, panic.is_empty());
        user.change_plugin(name, |_| broken);
        user.does(&["plugins", "install", &user.build(name)]);
    };
    let search = |study, more: &[&'static str]| {
        let chosen = ["--space", "example-space", "--set", "generator.id=my-generator"];
        let often = ["--set", "train.checkpoint_seconds=0", "--json", "--study", study];
        [&["search"][..], &SHORT, &chosen, &often, more].concat()
    };
    let call = "my_generator.so), weight-generator 'my-generator', ";
    let third_step = "use std::sync::atomic::{AtomicU64, Ordering};
        static STEPS: AtomicU64 = AtomicU64::new(0);
        assert!(STEPS.fetch_add(1, Ordering::Relaxed) < 2, \"out of steam\");
        ";
    install("let all = self", third_step);
    user.fails(&search("study", &[]), 3, &format!("{call}step: it panicked: out of steam"));
    install("self.cut(network, weights).map(|_| ())", "panic!(\"out of weights\");\n        ");
    let resume = search("study", &["--resume"]);
    user.fails(&resume, 3, &format!("{call}generate: it panicked: out of weights"));
    install("", "");
    let resumed: serde_json::Value = serde_json::from_str(&user.does(&resume)).unwrap();
    let whole = user.does(&search("another", &[]));
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    for key in ["candidates", "failed", "top", "best_accuracy", "generator"] {
        assert_eq!(resumed[key], whole[key], "{key}");
    }
}
