//! What holds of every entry at the boundary: wrong calls, panics, bytes, tables.

use ghnas_plugin_host::{CallError, PluginKind, Probe};

use crate::{Suite, require};

/// A method of the kind that takes JSON.
fn json_method(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::SearchSpace => "sample",
        PluginKind::Searcher => "suggest",
        PluginKind::Propagator => "schedule",
        PluginKind::WeightGenerator => "step",
        PluginKind::Operation => "expand",
    }
}

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("an unknown method is refused as such", |suite| {
        let outcome = probe(suite)?.call("no-such-method", b"{}");
        match outcome {
            Err(CallError::Fault(fault)) if fault.reason.contains("no such method") => Ok(()),
            other => Err(format!("it gave {other:?}")),
        }
    });
    suite.check("a malformed request is refused, and the next one served", |suite| {
        let probe = probe(suite)?;
        let method = json_method(suite.kind);
        for request in [&b"{\"seed\":"[..], b"", b"[]", b"\xff\xfe", b"{\"n\":-1}"] {
            match probe.call(method, request) {
                Ok(_) => {
                    return Err(format!("{method} took {:?}", String::from_utf8_lossy(request)));
                }
                Err(CallError::Broken(fault)) => return Err(fault.reason),
                Err(_) => {}
            }
        }
        Ok(())
    });
    suite.check("a panic stays in its instance", |suite| {
        let broken = probe(suite)?;
        match broken.call("panic", b"on purpose") {
            Err(CallError::Fault(fault)) if fault.reason.contains("no such method") => Ok(()),
            Err(CallError::Broken(fault)) if fault.reason.contains("on purpose") => {
                drop(broken);
                probe(suite).map(|_| ())
            }
            other => Err(format!("it gave {other:?}")),
        }
    });
    suite.check("bytes are released exactly once", |suite| {
        let probe = probe(suite)?;
        for (method, request) in [("no-such-method", &b"{}"[..]), (json_method(suite.kind), b"x")] {
            probe.release_once(method, request)?;
        }
        Ok(())
    });
    suite.check("shorter and longer tables of the host are read as far as they go", |suite| {
        let Suite { plugin, kind, entry, settings, .. } = suite;
        plugin.probe_tables(*kind, &entry.id, settings, &suite.context())
    });
    suite.check("settings are refused, or taken, in words", |suite| {
        let mut settings = suite.settings.clone();
        settings.insert("no-such-setting".into(), serde_json::json!({"deep": [1]}));
        let made = suite.plugin.probe(suite.kind, &suite.entry.id, &settings, &suite.context());
        match made {
            Err(words) => require(!ghnas_plugin_host::is_fault(&words), || words),
            Ok(_) => Ok(()),
        }
    });
}

fn probe(suite: &Suite<'_>) -> Result<Probe, String> {
    suite.plugin.probe(suite.kind, &suite.entry.id, &suite.settings, &suite.context())
}
