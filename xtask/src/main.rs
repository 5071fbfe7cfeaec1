//! Development tasks. `cargo xtask check` runs every check, the cheapest first.

mod abi;
mod plugins;
mod tidy;

use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use plugins::Profile;

/// A check: its name, and the cargo arguments that run it.
const CARGO_CHECKS: [(&str, &[&str]); 5] = [
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    // Type-checks the CUDA path of the dfdx crates; needs no toolkit on the machine.
    (
        "cuda types",
        &[
            "check",
            "--locked",
            "-p",
            "ghnas-ghn",
            "-p",
            "ghnas-executor-dfdx",
            "--features",
            "ghnas-ghn/ci-check,ghnas-executor-dfdx/ci-check",
        ],
    ),
    ("docs", &["doc", "--workspace", "--no-deps", "--locked"]),
    ("tests", &["test", "--workspace", "--locked", "--quiet"]),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => check(),
        ["tidy"] => tidy::check(),
        ["plugins"] => build(Profile::RELEASE),
        ["plugins", "--profile", profile] => build(Profile::named(profile)?),
        // All that follows is for the app, `--help` too.
        ["ghnas", ..] => plugins::run_app(&arguments[1..]),
        _ => bail!(
            "usage: cargo xtask check | tidy | plugins [--profile dev|release] | ghnas ARGUMENTS"
        ),
    }
}

/// Builds the binary with its plugins and prints where it is.
fn build(profile: Profile) -> Result<()> {
    let binary = plugins::build(profile)?;
    writeln!(std::io::stdout(), "{}", binary.display()).context("cannot print the binary's path")
}

fn check() -> Result<()> {
    announce("tidy");
    tidy::check()?;
    for (name, arguments) in CARGO_CHECKS {
        announce(name);
        let status = Command::new(env!("CARGO"))
            .args(arguments)
            .env("RUSTDOCFLAGS", "-D warnings")
            .current_dir(tidy::root())
            .status()
            .with_context(|| format!("cannot run cargo {}", arguments.join(" ")))?;
        ensure!(status.success(), "{name}: cargo {} failed", arguments.join(" "));
    }
    announce("all checks passed");
    Ok(())
}

fn announce(name: &str) {
    eprintln!("== {name}");
}
