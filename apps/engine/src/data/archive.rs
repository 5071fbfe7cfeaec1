//! Reading files out of a `.tar.gz`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::DataError;

/// More than any file of a known archive has; what claims to be larger is foreign.
const LARGEST_MEMBER: u64 = 64 << 20;

/// Files of one archive.
pub(super) struct Members {
    archive: PathBuf,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Members {
    /// Reads the members of the archive at `path` whose names, without folders, are in `wanted`.
    ///
    /// # Errors
    /// [`DataError::Read`] where the file cannot be opened, [`DataError::Archive`] where it is no
    /// `.tar.gz`, is truncated, or has a member of an impossible size.
    pub(super) fn read(path: &Path, wanted: &[&str]) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::read(path, source))?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
        let archive_error = |error| {
            let reason = format!("it is not a complete .tar.gz: {error}");
            DataError::Archive { path: path.to_owned(), reason }
        };
        let contents = collect(&mut archive, wanted).map_err(archive_error)?;
        Ok(Self { archive: path.to_owned(), contents })
    }

    /// Whether the archive has this member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.contents.contains_key(name)
    }

    /// The contents of a member.
    ///
    /// # Errors
    /// [`DataError::Archive`] where there is none of this name.
    pub(super) fn get(&self, name: &str) -> Result<&[u8], DataError> {
        self.contents.get(name).map(Vec::as_slice).ok_or_else(|| DataError::Archive {
            path: self.archive.clone(),
            reason: format!("it has no {name}"),
        })
    }

    /// How errors call a member.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}: {name}", self.archive.display())
    }
}

fn collect<R: Read>(
    archive: &mut tar::Archive<R>,
    wanted: &[&str],
) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for member in archive.entries()? {
        let mut member = member?;
        let name = member.path()?.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|name| wanted.contains(&name.as_str())) else { continue };
        if member.size() > LARGEST_MEMBER {
            return Err(io::Error::other(format!("{name} claims {} bytes", member.size())));
        }
        let mut bytes = Vec::with_capacity(member.size() as usize);
        member.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != member.size() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is cut off")));
        }
        found.insert(name, bytes);
    }
    Ok(found)
}
