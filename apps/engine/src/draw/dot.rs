//! A motif in Graphviz's DOT language.

use std::fmt::Write;

use ghnas_core::Architecture;

use super::{Picture, pictures};

/// The architecture as a directed graph; a cluster a motif.
pub fn to_dot(arch: &Architecture) -> String {
    let mut dot = String::from("digraph architecture {\n  node [shape=box, style=rounded];\n");
    for (index, picture) in pictures(arch).iter().enumerate() {
        draw(&mut dot, index, picture).expect("writing to a string");
    }
    dot + "}\n"
}

fn draw(dot: &mut String, motif: usize, picture: &Picture) -> std::fmt::Result {
    // The first motif's names are short, since most architectures have but one.
    let prefix = if motif == 0 { String::new() } else { format!("m{motif}_") };
    writeln!(dot, "  subgraph cluster_{motif} {{\n    label={};", quoted(&picture.name))?;
    for (index, node) in picture.nodes.iter().enumerate() {
        writeln!(dot, "    {prefix}n{index} [label={}];", quoted(&node.label))?;
        for (from, op) in &node.inputs {
            let label = op.as_deref().map(|op| format!(" [label={}]", quoted(op)));
            let label = label.unwrap_or_default();
            writeln!(dot, "    {prefix}n{from} -> {prefix}n{index}{label};")?;
        }
    }
    writeln!(dot, "  }}")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
