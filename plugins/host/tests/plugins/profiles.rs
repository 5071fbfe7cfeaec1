//! A plugin built for debugging in a host built for release, and the other way round.

use std::path::Path;
use std::process::Command;

use ghnas_core::{Phase, Task};

use crate::common::{catalogue, example, space};

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--locked", "--release", "--manifest-path"]);
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    cargo
}

#[test]
fn profiles_of_host_and_plugin_may_differ() {
    // The folder of this test's own build: target/debug/deps, so target.
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().nth(3).unwrap();
    let build = |arguments: &[&str]| {
        let output = cargo(arguments).arg("--target-dir").arg(target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    build(&["build", "--example", "sample"]);
    let debug = example("space");
    let host = target.join("release/examples/sample");
    let output = Command::new(host).arg(&debug).args(["example-space", "5"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // The dependencies of the example were built for release with it, as libraries too.
    let release = target.join("release/deps").join(debug.file_name().unwrap());
    for library in [&debug, &release] {
        let catalogue = catalogue(&[library]);
        let space = space(&catalogue, "example-space").unwrap();
        let arch = space.sample(Phase::Score, 5).unwrap();
        let count = space.lower(&arch, Task::CIFAR10).unwrap().param_count();
        assert_eq!(printed, format!("{arch}\n{count} parameters\n"));
    }
}
