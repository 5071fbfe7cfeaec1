//! A motif as text: a line a node, a column for each node that may be read.

use std::fmt::Write;

use ghnas_core::Architecture;

use super::{NodeKind, Picture, pictures};

/// The architecture for a terminal: `o` in column `j` of a node's line says that it reads node `j`.
pub fn to_text(arch: &Architecture) -> String {
    pictures(arch).iter().map(draw).collect()
}

fn draw(picture: &Picture) -> String {
    let count = picture.nodes.len() - 1;
    let wide = picture.nodes.iter().map(|node| node.label.len()).max().unwrap_or(0);
    let cell = (count.saturating_sub(1)).to_string().len() + 1;
    let mut text = format!("{}\n", picture.name);
    for (index, node) in picture.nodes.iter().enumerate() {
        let number = match node.kind {
            NodeKind::Output => String::new(),
            _ => index.to_string(),
        };
        let mut line = format!("{number:>2}  {:<wide$} ", node.label);
        for from in 0..index.min(count) {
            let mark = if node.inputs.iter().any(|(input, _)| *input == from) { "o" } else { "" };
            write!(line, "{mark:>cell$}").expect("writing to a string");
        }
        for (from, op) in &node.inputs {
            if let Some(op) = op {
                write!(line, "  {from}: {op}").expect("writing to a string");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    let numbers: String = (0..count).map(|index| format!("{index:>cell$}")).collect();
    let margin = wide + 5;
    writeln!(text, "{:margin$}{numbers}", "").expect("writing to a string");
    text
}
