//! Drawings of an architecture: text for terminals, SVG for pages, DOT for Graphviz.
//!
//! All three draw the same picture: the motif's nodes in canonical order and an output node, which
//! joins the leaves. A node `output` that nothing reads is drawn as the output instead.

mod dot;
mod layout;
mod svg;
mod text;

use ghnas_core::{Architecture, Motif};

pub use dot::to_dot;
pub(crate) use svg::escaped;
pub use svg::to_svg;
pub use text::to_text;

/// One node of a drawing.
struct PictureNode {
    label: String,
    /// What decides the colour.
    kind: NodeKind,
    /// Nodes that it reads, with the operation on the edge where there is one.
    inputs: Vec<(usize, Option<String>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    Input,
    Output,
    Identity,
    Convolution,
    Separable,
    Dilated,
    Pooling,
    Other,
}

/// What is drawn of a motif; every node comes after those that it reads.
struct Picture {
    name: String,
    nodes: Vec<PictureNode>,
}

/// One picture a motif.
fn pictures(arch: &Architecture) -> Vec<Picture> {
    arch.canonical().motifs().iter().map(picture).collect()
}

/// The operation of a node that is the motif's own output.
const OUTPUT: &str = "output";

fn picture(motif: &Motif) -> Picture {
    let is_output = |&v: &usize| motif.nodes()[v].op == OUTPUT;
    let own = motif.dag().leaves().find(is_output);
    // The output comes last. Nothing reads it, so the order stays topological.
    let order = (0..motif.nodes().len()).filter(|&v| Some(v) != own).chain(own).collect::<Vec<_>>();
    let motif = &motif.reordered(&order);
    let mut nodes: Vec<PictureNode> = motif
        .nodes()
        .iter()
        .map(|node| {
            let attributes: String =
                node.attributes.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let edge = |edge: &ghnas_core::Edge| (edge.from(), edge.op().map(String::from));
            PictureNode {
                label: format!("{}{attributes}", node.op),
                kind: kind_of(&node.op),
                inputs: node.inputs.iter().map(edge).collect(),
            }
        })
        .collect();
    if let (Some(_), Some(last)) = (own, nodes.last_mut()) {
        last.kind = NodeKind::Output;
        return Picture { name: motif.name().into(), nodes };
    }
    let used_or_operation = |&v: &usize| nodes[v].kind != NodeKind::Input;
    let leaves: Vec<usize> = motif.dag().leaves().filter(used_or_operation).collect();
    nodes.push(PictureNode {
        label: OUTPUT.into(),
        kind: NodeKind::Output,
        inputs: leaves.into_iter().map(|leaf| (leaf, None)).collect(),
    });
    Picture { name: motif.name().into(), nodes }
}

/// The family of an operation, by the field's naming habits.
fn kind_of(op: &str) -> NodeKind {
    match op {
        "input" => NodeKind::Input,
        "identity" | "skip_connect" => NodeKind::Identity,
        _ if op.starts_with("sep_") => NodeKind::Separable,
        _ if op.starts_with("dil_") => NodeKind::Dilated,
        _ if op.contains("conv") => NodeKind::Convolution,
        _ if op.contains("pool") => NodeKind::Pooling,
        _ => NodeKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Architecture {
        r#"{"schema":1,"space":"cell","motifs":[{"name":"cell","nodes":[
            {"op":"input","attributes":{"index":0}},
            {"op":"input","attributes":{"index":1}},
            {"op":"conv_1x1","inputs":[0]},
            {"op":"max_pool_3x3","inputs":[0,2]},
            {"op":"identity","inputs":[0]}]}]}"#
            .parse()
            .unwrap()
    }

    #[test]
    fn text_shows_who_reads_whom() {
        let expect = "\
cell
 0  input index=0
 1  input index=1
 2  conv_1x1       o
 3  identity       o
 4  max_pool_3x3   o   o
    output               o o
                   0 1 2 3 4
";
        assert_eq!(to_text(&sample()), expect);
    }

    #[test]
    fn an_output_of_the_motif_is_the_output() {
        let arch: Architecture = r#"{"schema":1,"space":"x","motifs":[{"name":"cell","nodes":[
            {"op":"input"},{"op":"output","inputs":[{"from":0,"op":"skip_connect"}]},
            {"op":"sum","inputs":[{"from":0,"op":"avg_pool_3x3"}]}]}]}"#
            .parse()
            .unwrap();
        let expect = "\
cell
 0  input
 1  sum     o  0: avg_pool_3x3
    output  o    0: skip_connect
            0 1
";
        assert_eq!(to_text(&arch), expect);
        assert_eq!(to_svg(&arch).matches("<rect class=\"node\"").count(), 3);
    }

    #[test]
    fn dot_has_every_node_and_edge() {
        let dot = to_dot(&sample());
        assert_eq!(dot.matches(" -> ").count(), 6);
        assert!(dot.contains("n4 [label=\"max_pool_3x3\""), "{dot}");
    }

    #[test]
    fn svg_is_well_formed_and_complete() {
        let svg = to_svg(&sample());
        assert_eq!(svg.matches("<rect class=\"node\"").count(), 6);
        assert_eq!(svg.matches("<path class=\"edge\"").count(), 6);
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
        assert!(svg.contains("max_pool_3x3"));
    }

    #[test]
    fn labels_are_escaped() {
        let text = r#"{"schema":1,"space":"x","motifs":[{"name":"a<b","nodes":[
            {"op":"<\"&>"},{"op":"ok","inputs":[{"from":0,"op":"\"on\""}]}]}]}"#;
        let arch: Architecture = text.parse().unwrap();
        assert!(to_svg(&arch).contains("&lt;&quot;&amp;&gt;"));
        assert!(to_dot(&arch).contains(r#"label="<\"&>""#));
        assert!(to_text(&arch).contains("\"on\""));
    }
}
