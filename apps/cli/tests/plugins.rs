//! `ghnas plugins` through the binary: the guide, new plugins of every kind, trust, checks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// The library with every fault, compiled with one entry.
fn faulty(entry: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libfaulty.so");
    let plugins = root().join("plugins");
    let status = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-DONLY_SPACES"])
        .arg(format!("-DENTRIES=ENTRY(\"{entry}\")"))
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
        let sources = root();
        user.does(&[
            "plugins",
            "new",
            "--kind",
            kind,
            name,
            "--sources",
            sources.to_str().unwrap(),
        ]);
        for arguments in [&["test"][..], &["build"]] {
            let mut cargo = user.command(env!("CARGO"));
            let folder = user.home.path().join(name);
            let output = cargo.args(arguments).current_dir(folder).output().unwrap();
            assert!(output.status.success(), "{name}: {}", all_text(&output));
        }
        let built = format!("{name}/target/debug/lib{}.so", name.replace('-', "_"));
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
    let (_folder, path) = faulty("cyclic");
    user.fails(&["plugins", "check", &path], 3, "lies on a cycle");
    user.fails(
        &["plugins", "check", &root().join("ARCHITECTURE.md").display().to_string()],
        3,
        "not ELF",
    );
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
