//! The rules of the space.

use std::collections::BTreeSet;

use ghnas_core::registry::nearest;
use ghnas_core::{Architecture, ArchitectureError, Edge, Motif};

use crate::settings::{FEWEST_NODES, MOST_NODES};
use crate::{CellSettings, ID, INDEX, INPUT, INPUTS, MOTIF};

pub(crate) fn validate(
    settings: &CellSettings,
    arch: &Architecture,
) -> Result<(), ArchitectureError> {
    if arch.space() != ID {
        let reason = format!("the architecture is of space '{}', not '{ID}'", arch.space());
        return Err(ArchitectureError::Shape(reason));
    }
    let [motif] = arch.motifs() else {
        let reason = format!("a cell architecture has one motif, not {}", arch.motifs().len());
        return Err(ArchitectureError::Shape(reason));
    };
    if motif.name() != MOTIF {
        let reason = format!("the motif is named '{}', expected '{MOTIF}'", motif.name());
        return Err(ArchitectureError::Shape(reason));
    }
    let count = motif.nodes().len();
    if !(FEWEST_NODES..=MOST_NODES).contains(&count) {
        let reason =
            format!("the block has {count} nodes, expected {FEWEST_NODES} to {MOST_NODES}");
        return Err(ArchitectureError::Shape(reason));
    }
    let mut indices = BTreeSet::new();
    for node in 0..count {
        let rule = |reason: &str| ArchitectureError::Rule {
            motif: motif.name().into(),
            node,
            reason: reason.into(),
        };
        if motif.nodes()[node].op == INPUT {
            let index = input_index(motif, node)
                .ok_or_else(|| rule("an input node has the one attribute index, 0 or 1"))?;
            if !indices.insert(index) {
                return Err(rule("another input node has the same index"));
            }
            if !motif.nodes()[node].inputs.is_empty() {
                return Err(rule("an input node has no inputs of its own"));
            }
        } else {
            check_operation(settings, motif, node, rule)?;
        }
    }
    if indices.len() != INPUTS {
        let reason = format!("the block has {} input nodes, expected {INPUTS}", indices.len());
        return Err(ArchitectureError::Shape(reason));
    }
    Ok(())
}

/// Which earlier block an input node takes; none where its attributes are wrong.
pub(crate) fn input_index(motif: &Motif, node: usize) -> Option<usize> {
    let attributes = &motif.nodes()[node].attributes;
    let index = usize::try_from(*attributes.get(INDEX)?).ok()?;
    (attributes.len() == 1 && index < INPUTS).then_some(index)
}

fn check_operation(
    settings: &CellSettings,
    motif: &Motif,
    node: usize,
    rule: impl Fn(&str) -> ArchitectureError,
) -> Result<(), ArchitectureError> {
    let content = &motif.nodes()[node];
    if !settings.operations.contains(&content.op) {
        return Err(ArchitectureError::UnknownOperation {
            motif: motif.name().into(),
            node,
            op: content.op.clone(),
            nearest: nearest(&content.op, settings.operations.iter().map(String::as_str)),
        });
    }
    if !content.attributes.is_empty() {
        return Err(rule("an operation of this space has no attributes"));
    }
    if content.inputs.is_empty() {
        return Err(rule("it reads nothing, so no image reaches it; give it an input"));
    }
    if content.inputs.iter().any(|edge| matches!(edge, Edge::Through { .. })) {
        return Err(rule("edges of this space carry no operation"));
    }
    let distinct: BTreeSet<_> = content.inputs.iter().map(Edge::from).collect();
    if distinct.len() < content.inputs.len() {
        return Err(rule("it reads one node twice"));
    }
    Ok(())
}
