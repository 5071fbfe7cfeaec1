//! Who may write a plugin's files: a file that anybody may change is not the file that was trusted.

use std::path::Path;

use crate::error::LoadError;

/// Refuses what anybody may write.
#[cfg(unix)]
pub(crate) fn check(path: &Path) -> Result<(), LoadError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(|error| LoadError::file(path, error))?;
    match metadata.permissions().mode() & 0o002 {
        0 => Ok(()),
        _ => Err(LoadError::Writable { path: path.into() }),
    }
}

/// Elsewhere, permissions are the file system's own matter.
#[cfg(not(unix))]
pub(crate) fn check(path: &Path) -> Result<(), LoadError> {
    std::fs::metadata(path).map(|_| ()).map_err(|error| LoadError::file(path, error))
}
