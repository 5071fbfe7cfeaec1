//! The plugins that ship with the binary: built, and put into `plugins` beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail, ensure};

use crate::tidy;

/// Crates that are bundled plugins.
const BUNDLED: [&str; 5] = [
    "ghnas-space-cell",
    "ghnas-space-nas-bench-201",
    "ghnas-one-shot",
    "ghnas-sgd-steps",
    "ghnas-smash",
];

/// A cargo profile, and the folder of its results.
#[derive(Clone, Copy)]
pub(crate) struct Profile {
    name: &'static str,
    folder: &'static str,
}

impl Profile {
    /// What is shipped.
    pub(crate) const RELEASE: Self = Self { name: "release", folder: "release" };
    /// What tests run.
    pub(crate) const DEV: Self = Self { name: "dev", folder: "debug" };

    /// The profile of this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        match name {
            "release" => Ok(Self::RELEASE),
            "dev" => Ok(Self::DEV),
            _ => bail!("profile '{name}': expected dev or release"),
        }
    }
}

/// Builds the binary and the bundled plugins and installs these beside it; gives the binary.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--profile", profile.name, "--package", "ghnas"]);
    cargo.args(BUNDLED.iter().flat_map(|name| ["--package", name]));
    run(&mut cargo)?;
    let folder = target_folder().join(profile.folder);
    let binary = folder.join(format!("ghnas{}", std::env::consts::EXE_SUFFIX));
    for name in BUNDLED {
        let library = folder.join(library(name));
        let mut install = Command::new(&binary);
        install.args(["plugins", "install", "--json", "--to"]).arg(folder.join("plugins"));
        let output = install.arg(&library).output().context("cannot run the binary")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot install {}: {words}", library.display());
    }
    Ok(binary)
}

/// Builds all and runs the binary with `arguments`; ends with its exit code.
pub(crate) fn run_app(arguments: &[String]) -> Result<()> {
    let binary = build(Profile::RELEASE)?;
    let status = Command::new(&binary).args(arguments).status();
    let status = status.with_context(|| format!("cannot run {}", binary.display()))?;
    std::process::exit(code(status));
}

/// The exit code of the binary; of one that a signal ended, what a shell gives.
fn code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(1)
}

fn library(package: &str) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{}{DLL_SUFFIX}", package.replace('-', "_"))
}

/// Where cargo puts its results.
fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::env::current_dir().unwrap_or_default().join(folder),
        None => tidy::root().join("target"),
    }
}

fn run(cargo: &mut Command) -> Result<()> {
    // In the caller's folder a relative CARGO_TARGET_DIR means what the caller meant.
    cargo.arg("--manifest-path").arg(Path::new(&tidy::root()).join("Cargo.toml"));
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build failed");
    Ok(())
}
