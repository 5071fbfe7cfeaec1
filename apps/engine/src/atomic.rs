//! Files that are replaced as a whole: a reader, a crash or a full disk never meets half of one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::error::EngineError;
use crate::fault;

/// Puts `bytes` at `path`, durably. Where this fails, what was there before is still there.
///
/// # Errors
/// [`EngineError::Write`] names the file.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let Some(temporary) = temporary(path) else {
        return Err(EngineError::write(path, io::ErrorKind::IsADirectory.into()));
    };
    let written = write_and_rename(&temporary, path, bytes);
    if written.is_err() {
        // The error that matters is the one above; a temporary file left over does no harm.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| EngineError::write(path, error))
}

/// The name is fixed, so that what a killed process left over is written over, not piled up.
fn temporary(path: &Path) -> Option<std::path::PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(".tmp");
    Some(path.with_file_name(name))
}

fn write_and_rename(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fault::point()?;
    let mut file = File::create(temporary)?;
    fault::point()?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fault::point()?;
    fs::rename(temporary, path)?;
    fault::point()?;
    sync_folder(path)
}

/// Makes a rename in the folder of `path` durable, on systems where folders can be synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
