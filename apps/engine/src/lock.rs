//! Files that one process has to itself.

use std::fs::{File, TryLockError};
use std::ops::Deref;
use std::path::Path;

use crate::error::EngineError;

/// An open file that this process has to itself, until this is dropped or the process ends, even
/// by a kill.
pub(crate) struct LockedFile(File);

impl LockedFile {
    /// Locks `file`, which was opened at `path`.
    ///
    /// # Errors
    /// [`EngineError::Locked`] where another process has it; [`EngineError::Write`] where files
    /// cannot be locked there.
    pub(crate) fn new(file: File, path: &Path) -> Result<Self, EngineError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(EngineError::Locked { path: path.into() }),
            Err(TryLockError::Error(error)) => Err(EngineError::write(path, error)),
        }
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // To close it is not enough: a child that is being started holds a copy for a moment, and
        // the lock with it. Where unlocking fails, closing does it all the same, if later.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_a_child_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || LockedFile::new(File::create(&path).unwrap(), &path);
        let lock = open().unwrap();
        assert!(matches!(open(), Err(EngineError::Locked { .. })));
        // What a fork does.
        let copy = lock.try_clone().unwrap();
        drop(lock);
        open().unwrap();
        drop(copy);
    }
}
