//! The libraries that these tests load, and what they are built with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ghnas_core::{BuildContext, Catalogue, RegistryError, SearchSpace, Settings};
use ghnas_operations as _;
use ghnas_plugin_host::Plugin;

/// The library of an example crate.
pub(crate) fn example(kind: &str) -> PathBuf {
    library(&format!("ghnas_example_{kind}"))
}

/// The library of a crate that is a dependency of this one: cargo puts it beside the test.
pub(crate) fn library(name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
}

/// Compiles a C file of this folder, or of the examples, to a library.
pub(crate) fn compile(source: &str, name: &str, defines: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg("-I")
        .arg(root.join("../abi/include"))
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg(root.join(source))
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, library)
}

/// What is built in, with the entries of these libraries.
pub(crate) fn catalogue(libraries: &[&Path]) -> Catalogue {
    let mut catalogue = Catalogue::built_in().unwrap();
    for library in libraries {
        open(library).add_to(&mut catalogue).unwrap();
    }
    catalogue
}

#[track_caller]
pub(crate) fn open(library: &Path) -> Arc<Plugin> {
    Plugin::open(library).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn context(catalogue: &Catalogue) -> BuildContext<'_> {
    BuildContext { seed: 7, ..BuildContext::new(catalogue) }
}

pub(crate) fn space(
    catalogue: &Catalogue,
    id: &str,
) -> Result<Arc<dyn SearchSpace>, RegistryError> {
    catalogue.spaces.build(id, &Settings::new(), &context(catalogue))
}
