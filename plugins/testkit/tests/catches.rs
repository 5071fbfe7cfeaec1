//! The suite finds what is wrong: every entry of the faulty plugin fails it.

use std::path::Path;
use std::process::Command;

use ghnas_plugin_host::Plugin;

#[test]
fn every_fault_fails_a_check_and_is_begun_before() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libfaulty.so");
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let status = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-I"])
        .arg(plugins.join("abi/include"))
        .arg(plugins.join("host/tests/plugins/faulty.c"))
        .arg("-o")
        .arg(&library)
        .status();
    assert!(status.unwrap().success());
    let plugin = Plugin::open(&library).unwrap();
    let mut begun = Vec::new();
    let report = ghnas_plugin_testkit::run(&plugin, &mut |name| begun.push(name.to_string()));
    assert_eq!(begun, report.checks.iter().map(|check| check.name.clone()).collect::<Vec<_>>());
    for (kind, entry) in plugin.entries() {
        let own = format!("{kind} '{}': ", entry.id);
        let failed = report.failures().filter(|check| check.name.starts_with(&own)).count();
        assert!(failed > 0, "{own}no check failed");
    }
    let error = |name: &str| {
        let found = report.checks.iter().find(|check| check.name == name).expect("it was run");
        found.error.clone().unwrap_or_else(|| panic!("{name} holds"))
    };
    let sampling = "same seed, same architecture, on every thread";
    assert!(error(&format!("search-space 'cyclic': {sampling}")).contains("lies on a cycle"));
    let listing = "an enumeration gives valid architectures that differ, and has an end";
    assert!(error(&format!("search-space 'fine': {listing}")).contains("0 and 1 are both"));
    let schedules = "schedules are valid on every graph, twice the same";
    assert!(error(&format!("propagator 'lost': {schedules}")).contains("node 9"));
    let weights = "same seed, same weights; generating and predicting agree";
    assert!(error(&format!("weight-generator 'past': {weights}")).contains("outside"));
}
