//! The `ghnas` binary as users run it, built by the cargo that runs the tests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// The built binary, with its bundled plugins beside it. It is built once a test process.
pub fn ghnas() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--locked", "--quiet", "--package", "xtask", "--"])
        .args(["plugins", "--profile", "dev"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo xtask plugins failed");
    String::from_utf8(output.stdout).expect("the path is text").trim().into()
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// Where the command failed or printed anything else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect("one JSON document")
    }

    /// Checks that the run failed with `code`, one error that holds every one of `parts`, nothing
    /// on standard output, and no panic.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_eq!(self.stderr.matches("error:").count(), 1, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is missing in: {}", self.stderr);
        }
    }
}

/// A command line of the binary.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(ghnas());
    // The user's own settings must not reach a test.
    command.args(arguments).env_remove("GHNAS_DATA").env_remove("GHNAS_LOG").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
///
/// # Panics
/// Where it cannot be started.
pub fn run(arguments: &[&str]) -> Run {
    command(arguments).output().expect("the binary starts").into()
}

/// Starts the binary with its output captured.
///
/// # Panics
/// Where it cannot be started.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}
