//! `ghnas config show`: the resolved configuration with the source of each value.

use anyhow::Result;
use serde_json::json;

use crate::args::{ConfigArgs, Global};
use crate::session::{Session, print, print_json};
use crate::table::{self, Align};

pub(crate) fn show(global: Global, config: &ConfigArgs) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let leaves = session.resolved.leaves();
    if session.global.json {
        let entries = leaves.iter().map(
            |leaf| json!({"key": leaf.key, "value": leaf.value, "source": leaf.source.to_string()}),
        );
        return print_json(&entries.collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = leaves
        .into_iter()
        .map(|leaf| {
            let value = leaf.value.unwrap_or_else(|| "(unset)".into());
            vec![leaf.key, value, leaf.source.to_string()]
        })
        .collect();
    let header = [("key", Align::Left), ("value", Align::Left), ("source", Align::Left)];
    print(&table::format(&header, &rows))
}
