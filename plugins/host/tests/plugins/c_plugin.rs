//! A plugin in C, with tables that are shorter than this release's; and the header that it uses.

use crate::common::{catalogue, compile, context};
use ghnas_core::{Command, Settings};
use ghnas_plugin_abi as abi;

const SOURCE: &str = "../examples/c/every_other.c";

#[test]
fn a_c_plugin_with_older_tables_searches() {
    let (_folder, library) = compile(SOURCE, "libevery_other.so", &[]);
    let plugin = crate::common::open(&library);
    assert_eq!((plugin.id(), plugin.version(), plugin.compiler()), ("every-other", "1.0.0", ""));
    let catalogue = catalogue(&[&library]);
    let build = || {
        catalogue.searchers.build("every-other", &Settings::new(), &context(&catalogue)).unwrap()
    };
    let mut searcher = build();
    let seeds = |commands: Vec<Command>| -> Vec<u64> {
        let seed = |command| match command {
            Command::Sample { seed } => seed,
            other => panic!("{other:?}"),
        };
        commands.into_iter().map(seed).collect()
    };
    assert_eq!(seeds(searcher.suggest(3).unwrap()), [0, 2, 4]);
    searcher.report(&[]).unwrap();
    let mut again = build();
    again.load(&searcher.save().unwrap()).unwrap();
    assert_eq!(seeds(again.suggest(1).unwrap()), [6]);
    assert!(again.load(b"x").unwrap_err().to_string().contains("another length"));
}

/// The header's layouts are those of the Rust crate: compiled into constants and compared.
#[test]
fn the_c_header_has_the_layouts_of_the_crate() {
    use std::mem::offset_of;
    let folder = tempfile::tempdir().unwrap();
    let assertions = [
        ("sizeof(ghnas_header)", size_of::<abi::Header>()),
        ("offsetof(ghnas_header, size)", offset_of!(abi::Header, size)),
        ("offsetof(ghnas_header, id)", abi::LEAST_HEADER_SIZE),
        ("offsetof(ghnas_header, compiler)", offset_of!(abi::Header, compiler)),
        ("sizeof(ghnas_host)", size_of::<abi::Host>()),
        ("offsetof(ghnas_host, call)", offset_of!(abi::Host, call)),
        ("sizeof(ghnas_owned_bytes)", size_of::<abi::OwnedBytes>()),
        ("offsetof(ghnas_owned_bytes, release)", offset_of!(abi::OwnedBytes, release)),
        ("sizeof(ghnas_interface)", size_of::<abi::Interface>()),
        ("offsetof(ghnas_interface, entries)", offset_of!(abi::Interface, entries)),
        ("offsetof(ghnas_interface, call)", offset_of!(abi::Interface, call)),
        ("offsetof(ghnas_interface, vjp)", offset_of!(abi::Interface, vjp)),
        ("sizeof(ghnas_plugin)", size_of::<abi::Plugin>()),
        ("offsetof(ghnas_plugin, interface_count)", offset_of!(abi::Plugin, interface_count)),
        ("GHNAS_MAJOR", abi::MAJOR.into()),
        ("GHNAS_MINOR", abi::MINOR.into()),
        ("GHNAS_PANIC", abi::Status::PANIC.0 as usize),
        ("GHNAS_THREAD_BOUND", abi::THREAD_BOUND as usize),
    ]
    .map(|(text, value)| format!("_Static_assert({text} == {value}, \"{text}\");\n"));
    let source = folder.path().join("layout.c");
    std::fs::write(&source, format!("#include <ghnas_plugin.h>\n{}", assertions.concat())).unwrap();
    compile(source.to_str().unwrap(), "layout.so", &[]);
}
