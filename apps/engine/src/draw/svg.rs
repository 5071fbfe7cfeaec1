//! A motif as SVG, readable on light and dark pages.

use std::fmt::Write;

use ghnas_core::Architecture;

use super::layout::{Layout, NODE_HEIGHT, NODE_WIDTH, layout};
use super::{NodeKind, Picture, pictures};

/// Margin around a motif, and room for its name, in pixels.
const MARGIN: f64 = 24.0;

/// The architecture as a drawing; motifs stand side by side.
pub fn to_svg(arch: &Architecture) -> String {
    let pictures = pictures(arch);
    let layouts: Vec<Layout> = pictures.iter().map(layout).collect();
    let width: f64 = MARGIN + layouts.iter().map(|layout| layout.width + MARGIN).sum::<f64>();
    let tallest = layouts.iter().map(|layout| layout.height).fold(0.0, f64::max);
    let height = tallest + 2.0 * MARGIN + 8.0;
    let mut svg = String::new();
    let mut left = MARGIN;
    for (picture, layout) in pictures.iter().zip(&layouts) {
        draw(&mut svg, picture, layout, left).expect("writing to a string");
        left += layout.width + MARGIN;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{svg}</svg>\n"
    )
}

fn draw(svg: &mut String, picture: &Picture, layout: &Layout, left: f64) -> std::fmt::Result {
    writeln!(svg, "<g transform=\"translate({left:.1} {:.1})\">", MARGIN + 8.0)?;
    writeln!(svg, "<text x=\"0\" y=\"-12\" fill=\"#475569\">{}</text>", escaped(&picture.name))?;
    let mut routes = layout.edges.iter();
    for node in &picture.nodes {
        for (_, op) in &node.inputs {
            let route = routes.next().expect("one route an edge");
            let path = curve(route);
            writeln!(
                svg,
                "<path class=\"edge\" d=\"{path}\" fill=\"none\" stroke=\"#94a3b8\" \
                 stroke-width=\"1.3\"/>"
            )?;
            if let Some(op) = op {
                let (x, y) = route[route.len() / 2];
                let (x0, y0) = route[route.len() / 2 - 1];
                let (x, y) = ((x + x0) / 2.0, (y + y0) / 2.0);
                let op = escaped(op);
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"9\">{op}</text>")?;
            }
        }
    }
    for (index, (node, &(x, y))) in picture.nodes.iter().zip(&layout.nodes).enumerate() {
        let (fill, stroke) = colours(node.kind);
        let (corner_x, corner_y) = (x - NODE_WIDTH / 2.0, y - NODE_HEIGHT / 2.0);
        let label = escaped(&node.label);
        writeln!(
            svg,
            "<rect class=\"node\" x=\"{corner_x:.1}\" y=\"{corner_y:.1}\" \
             width=\"{NODE_WIDTH}\" height=\"{NODE_HEIGHT}\" rx=\"6\" fill=\"{fill}\" \
             stroke=\"{stroke}\"><title>node {index}: {label}</title></rect>"
        )?;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#0f172a\">{label}</text>",
            y + 4.0
        )?;
    }
    writeln!(svg, "</g>")
}

/// A smooth line down through the points: each piece leaves and arrives vertically.
fn curve(points: &[(f64, f64)]) -> String {
    let last = points.len() - 1;
    let end = |index: usize| {
        let (x, y) = points[index];
        let border = NODE_HEIGHT / 2.0;
        let shift = if index == 0 { border } else { -border };
        (x, if index == 0 || index == last { y + shift } else { y })
    };
    let (x, y) = end(0);
    let mut path = format!("M{x:.1} {y:.1}");
    for index in 1..points.len() {
        let ((x0, y0), (x1, y1)) = (end(index - 1), end(index));
        let middle = (y0 + y1) / 2.0;
        write!(path, " C{x0:.1} {middle:.1} {x1:.1} {middle:.1} {x1:.1} {y1:.1}")
            .expect("writing to a string");
    }
    path
}

/// Fill and border of a node.
fn colours(kind: NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Input | NodeKind::Output => ("#e2e8f0", "#64748b"),
        NodeKind::Identity => ("#f8fafc", "#94a3b8"),
        NodeKind::Convolution => ("#dbeafe", "#2563eb"),
        NodeKind::Separable => ("#dcfce7", "#16a34a"),
        NodeKind::Dilated => ("#fef9c3", "#ca8a04"),
        NodeKind::Pooling => ("#fee2e2", "#dc2626"),
        NodeKind::Other => ("#f3e8ff", "#9333ea"),
    }
}

/// Text as XML has it.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        match character {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            // SVG is XML, which has no other control characters.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
