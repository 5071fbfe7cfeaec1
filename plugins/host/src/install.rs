//! Makes a plugin folder of a library: asks it for its id, version and kinds, and writes the
//! manifest beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::discover::Found;
use crate::error::LoadError;
use crate::manifest::{MANIFEST, Manifest, TargetFile, target};
use crate::plugin::{Plugin, sha256};

/// Installs the library at `library` under `holder`, in a folder named by the plugin's id, which
/// is replaced as a whole unless it holds the same. Gives the folder and its manifest. The library is loaded, and so runs.
///
/// # Errors
/// [`LoadError`] where it is no plugin or cannot be written.
pub fn install(library: &Path, holder: &Path) -> Result<(PathBuf, Manifest), LoadError> {
    let bytes = std::fs::read(library).map_err(|error| LoadError::file(library, error))?;
    let plugin = Plugin::of_bytes(&bytes, library)?;
    let name: PathBuf = library.file_name().unwrap_or("plugin".as_ref()).into();
    let (major, minor) = plugin.abi();
    let entry = TargetFile { file: name.clone(), sha256: sha256(&bytes) };
    let manifest = Manifest {
        id: plugin.id().into(),
        version: plugin.version().into(),
        abi: format!("{major}.{minor}"),
        kinds: plugin.kinds(),
        files: BTreeMap::from([(target(), entry)]),
    };
    let folder = holder.join(&manifest.id);
    let failed = |error: &dyn std::fmt::Display| LoadError::file(&folder, error);
    let text = toml::to_string(&manifest).map_err(|error| failed(&error))?;
    // Two that install one library at a time would take the folder from under each other.
    let _lock = lock(holder).map_err(|error| failed(&error))?;
    let installed = Found::in_folder(&folder);
    if installed.is_ok_and(|found| found.manifest == manifest && found.verified().is_ok()) {
        return Ok((folder, manifest));
    }
    write(holder, &folder, &[(&name, &bytes), (Path::new(MANIFEST), text.as_bytes())])
        .map_err(|error| failed(&error))?;
    Ok((folder, manifest))
}

/// Waits for whoever else installs into `holder`.
fn lock(holder: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(holder)?;
    let file = File::create(holder.join(".lock"))?;
    file.lock()?;
    Ok(file)
}

/// Writes the files beside `folder`, then puts them in its place.
fn write(holder: &Path, folder: &Path, files: &[(&Path, &[u8])]) -> std::io::Result<()> {
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(holder)?;
    set_mode(new.path(), 0o755)?;
    for (name, content) in files {
        let path = new.path().join(name);
        std::fs::write(&path, content)?;
        set_mode(&path, 0o644)?;
    }
    if folder.exists() {
        if exchange(new.path(), folder).is_ok() {
            return Ok(()); // What was there before goes with `new`.
        }
        let old = tempfile::Builder::new().prefix(".old-").tempdir_in(holder)?;
        std::fs::rename(folder, old.path().join("plugin"))?;
    }
    std::fs::rename(new.keep(), folder)
}

/// Swaps two folders in one step, so that who looks for the plugin meanwhile finds one of them.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, folder: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, new, CWD, folder, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}
