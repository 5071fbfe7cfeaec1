//! Loads a library into this process, for good: the bytes that were hashed are the bytes that are
//! loaded, from a private copy. The one place that knows the dynamic loader.

use std::path::Path;

use ghnas_plugin_abi::{ENTRY_SYMBOL, EntryFunction, HEADER_SYMBOL, Header};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::error::LoadError;

/// What a library exports.
pub(crate) struct Exports {
    pub(crate) header: *const Header,
    pub(crate) entry: EntryFunction,
}

/// Loads `bytes`, the content of the file at `path`. Runs the library's constructors.
///
/// # Errors
/// [`LoadError::Binary`] where they are no library of this system, or no plugin.
pub(crate) fn load(bytes: &[u8], path: &Path) -> Result<Exports, LoadError> {
    let wrong = |reason: String| LoadError::Binary { path: path.into(), reason };
    crate::binary::check(bytes).map_err(wrong)?;
    let library = open_copy(bytes).map_err(wrong)?;
    let symbol = |name: &[u8]| {
        let text = String::from_utf8_lossy(&name[..name.len() - 1]).into_owned();
        wrong(format!("it is no ghnas plugin: it has no symbol {text} (see export_plugin!)"))
    };
    // SAFETY: the symbol is a static of this type, by its name.
    let header = unsafe { library.get::<*const Header>(HEADER_SYMBOL) };
    let header = header.map_err(|_| symbol(HEADER_SYMBOL))?.into_raw() as *const Header;
    // SAFETY: the symbol is a function of this type, by its name.
    let entry = unsafe { library.get::<EntryFunction>(ENTRY_SYMBOL) };
    let entry = *entry.map_err(|_| symbol(ENTRY_SYMBOL))?;
    // Never unloaded: its threads and statics may be in use until the process ends.
    std::mem::forget(library);
    Ok(Exports { header, entry })
}

/// Loads from memory that has no name in the file system.
#[cfg(target_os = "linux")]
fn open_copy(bytes: &[u8]) -> Result<Library, String> {
    use std::io::Write;
    use std::os::fd::{AsRawFd, IntoRawFd};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let words = |error: std::io::Error| format!("no private copy can be made: {error}");
    let mut file: std::fs::File =
        memfd_create("ghnas-plugin", flags).map_err(|error| words(error.into()))?.into();
    file.write_all(bytes).map_err(words)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&file, seals).map_err(|error| words(error.into()))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let library = open(Path::new(&path));
    // Stays open: the loader takes a path it has seen for the library it has loaded.
    let _ = file.into_raw_fd();
    library
}

/// Loads from a file that only this user can read.
#[cfg(not(target_os = "linux"))]
fn open_copy(bytes: &[u8]) -> Result<Library, String> {
    let words = |error: std::io::Error| format!("no private copy can be made: {error}");
    let folder = tempfile::tempdir().map_err(words)?;
    let path = folder.path().join("plugin");
    std::fs::write(&path, bytes).map_err(words)?;
    open(&path)
}

fn open(path: &Path) -> Result<Library, String> {
    // SAFETY: the library's constructors run; the user trusted them with all rights.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        use std::error::Error;
        let cause = error.source().map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    })
}
