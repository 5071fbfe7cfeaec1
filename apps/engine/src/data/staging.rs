//! Putting a data set's files into a folder so that an interruption leaves none of them half
//! written: they are completed in a hidden folder, then moved.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::DataError;

/// How the names of the hidden folders begin.
const PREFIX: &str = ".ghnas-data-";

/// Held locked for as long as the process that made the folder is at work.
const LOCK: &str = "lock";

/// A hidden folder in the folder that the files are for, or beside it where that is still to be
/// made. It vanishes when dropped; what a killed process left is removed by the next one.
pub(super) struct Staging {
    folder: TempDir,
    target: PathBuf,
    staged: Vec<String>,
    _lock: File,
}

impl Staging {
    /// # Errors
    /// [`DataError::Write`] where the folder cannot be made.
    pub(super) fn for_target(target: &Path) -> Result<Self, DataError> {
        // An absolute path has a parent also where `target` is one relative name.
        let target = std::path::absolute(target).map_err(|e| DataError::write(target, e))?;
        // A folder that exists may be on another disk than its parent, by a mount or a link, and
        // a file cannot be moved from one disk to another at once.
        let place = match target.parent() {
            Some(parent) if !target.is_dir() => parent,
            _ => &target,
        };
        let unwritable = |source| DataError::write(place, source);
        fs::create_dir_all(place).map_err(unwritable)?;
        remove_abandoned(place);
        let folder =
            tempfile::Builder::new().prefix(PREFIX).tempdir_in(place).map_err(unwritable)?;
        let lock = File::create(folder.path().join(LOCK)).map_err(unwritable)?;
        // Without file locks on this file system, the folder is merely never taken for abandoned.
        let _ = lock.try_lock();
        Ok(Self { folder, target, staged: Vec::new(), _lock: lock })
    }

    /// The hidden folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes one file of the set, and has it reach the disk.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub(super) fn stage(&mut self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let path = self.path().join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        // The file that the user asked for is named, not the hidden one.
        write().map_err(|source| DataError::write(&self.target.join(name), source))?;
        self.staged.push(name.to_owned());
        Ok(())
    }

    /// Moves every staged file into the target folder, replacing those of the same name.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub(super) fn install(self) -> Result<(), DataError> {
        fs::create_dir_all(&self.target).map_err(|e| DataError::write(&self.target, e))?;
        for name in &self.staged {
            let to = self.target.join(name);
            fs::rename(self.path().join(name), &to).map_err(|e| DataError::write(&to, e))?;
        }
        Ok(())
    }
}

/// Removes hidden folders whose makers are gone. It is a courtesy, so failures are let be.
fn remove_abandoned(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for folder in entries.flatten() {
        let ours = folder.file_name().to_string_lossy().starts_with(PREFIX);
        // A folder without a lock file may have been made this instant.
        let Some(lock) = ours.then(|| File::open(folder.path().join(LOCK)).ok()).flatten() else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_together_and_nothing_else_stays() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("new").join("set");
        let mut staging = Staging::for_target(&target).unwrap();
        staging.stage("a", b"1").unwrap();
        staging.stage("b", b"2").unwrap();
        assert!(!target.exists());
        staging.install().unwrap();
        assert_eq!(names(&target), ["a", "b"]);
        assert_eq!(names(&place.path().join("new")), ["set"]);
    }

    #[test]
    fn giving_up_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("set");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("a"), b"old").unwrap();
        let mut staging = Staging::for_target(&target).unwrap();
        staging.stage("a", b"new").unwrap();
        assert!(staging.path().starts_with(&target));
        drop(staging);
        assert_eq!(fs::read(target.join("a")).unwrap(), b"old");
        assert_eq!(names(&target), ["a"]);
        assert_eq!(names(place.path()), ["set"]);
    }

    #[test]
    fn folders_of_killed_processes_are_removed_and_those_in_use_are_kept() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("set");
        let abandoned = place.path().join(".ghnas-data-killed");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), b"").unwrap();
        fs::write(abandoned.join("data_batch_1.bin"), b"half").unwrap();
        let first = Staging::for_target(&target).unwrap();
        assert!(!abandoned.exists());
        let second = Staging::for_target(&target).unwrap();
        assert!(first.path().exists() && second.path().exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Staging::for_target(&file.join("set")).err().unwrap().to_string();
        assert_eq!(error, format!("cannot write {}", file.display()));
    }
}
