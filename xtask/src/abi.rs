//! The plugin ABI changes only together with its document and its version.
//!
//! `docs/abi.md` ends in a table of versions, each with a hash over the files that define the ABI.
//! The last row must be that of the version in the code, with the hash of the files as they are.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::tidy::root;

/// The files that define what crosses the boundary.
const FILES: [&str; 3] =
    ["plugins/abi/src/lib.rs", "plugins/abi/include/ghnas_plugin.h", "plugins/messages/src/lib.rs"];

const DOCUMENT: &str = "docs/abi.md";

/// What is wrong, where something is.
pub(crate) fn check() -> Result<Option<String>> {
    let read = |name: &str| {
        std::fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let sources = FILES.map(read).into_iter().collect::<Result<Vec<String>>>()?;
    let (version, hash) = (version(&sources[0])?, hash(&sources));
    Ok(complaint(&read(DOCUMENT)?, &version, &hash))
}

fn complaint(document: &str, version: &str, hash: &str) -> Option<String> {
    let rows: Vec<(&str, &str)> = document.lines().filter_map(row).collect();
    let wanted = format!("| {version} | `{hash}` |");
    match rows.last() {
        Some(&(last, known)) if last == version && known == hash => {
            let before = &rows[..rows.len() - 1];
            let twice = before.iter().any(|(other, _)| *other == version);
            twice.then(|| format!("{DOCUMENT}: version {version} stands in two rows"))
        }
        Some(&(last, _)) if last == version => Some(format!(
            "{DOCUMENT}: the ABI of version {version} has changed; describe it, raise MINOR (or \
             MAJOR) in {}, and add a row {wanted} with the new version and the hash that this \
             check then gives",
            FILES[0]
        )),
        _ => Some(format!("{DOCUMENT}: the last row of its versions must begin {wanted}")),
    }
}

/// Version and hash of a row such as "| 1.0 | `00ff...` | the first |".
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let (version, hash) = (cells.next()?, cells.next()?);
    let hash = hash.strip_prefix('`')?.strip_suffix('`')?;
    let hexadecimal = hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit());
    hexadecimal.then_some((version, hash))
}

/// `major.minor` of the constants in the source.
fn version(source: &str) -> Result<String> {
    let constant = |name: &str| {
        let start = format!("pub const {name}: u16 = ");
        let value = source.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(';'));
        value.with_context(|| format!("{}: no {name}", FILES[0]))
    };
    Ok(format!("{}.{}", constant("MAJOR")?, constant("MINOR")?))
}

/// Over the lines that are no comment, with one space between words.
fn hash(sources: &[String]) -> String {
    let mut hasher = Sha256::new();
    for line in sources.iter().flat_map(|source| source.lines()) {
        let line = line.trim();
        let comment = ["//", "/*", "*"].iter().any(|start| line.starts_with(start));
        if !comment && !line.is_empty() {
            hasher.update(line.split_whitespace().collect::<Vec<_>>().join(" "));
            hasher.update("\n");
        }
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "| version | code | what |\n|---|---|---|\n\
                            | 1.0 | `0123456789abcdef` | the first |\n";

    #[test]
    fn a_change_needs_a_new_version_and_a_new_row() {
        assert_eq!(complaint(DOCUMENT, "1.0", "0123456789abcdef"), None);
        let changed = complaint(DOCUMENT, "1.0", "ffffffffffffffff").unwrap();
        assert!(changed.contains("raise MINOR"), "{changed}");
        let raised = complaint(DOCUMENT, "1.1", "ffffffffffffffff").unwrap();
        assert!(raised.contains("| 1.1 | `ffffffffffffffff` |"), "{raised}");
        let row = format!("{DOCUMENT}| 1.1 | `ffffffffffffffff` | more |\n");
        assert_eq!(complaint(&row, "1.1", "ffffffffffffffff"), None);
    }

    #[test]
    fn comments_are_free_and_code_is_not() {
        let of = |text: &str| hash(&[text.to_string()]);
        assert_eq!(of("let a = 1;"), of("// a\n\n  let  a = 1;\n"));
        assert_ne!(of("let a = 1;"), of("let a = 2;"));
    }
}
