//! Where the nodes of a picture stand: layers by depth, few crossings.
//!
//! Long edges are split at every layer that they pass, so that the layout keeps room for them and
//! no edge runs through a node.

use rust_sugiyama::configure::Config;

use super::Picture;

/// Width of a node, in pixels.
pub(super) const NODE_WIDTH: f64 = 132.0;

/// Height of a node, in pixels.
pub(super) const NODE_HEIGHT: f64 = 26.0;

/// Distance from one layer to the next, in pixels.
const LAYER: f64 = 68.0;

/// Width that an edge takes where it passes a layer, in pixels.
const LANE: f64 = 4.0;

/// Positions of centres, in pixels from the top left corner.
pub(super) struct Layout {
    /// One a node.
    pub(super) nodes: Vec<(f64, f64)>,
    /// One an edge, in the order of nodes and their inputs: the points that it passes.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

pub(super) fn layout(picture: &Picture) -> Layout {
    let mut depth = vec![0; picture.nodes.len()];
    for (index, node) in picture.nodes.iter().enumerate() {
        depth[index] = node.inputs.iter().map(|(from, _)| depth[*from] + 1).max().unwrap_or(0);
    }
    // Vertices are the nodes, and a lane for each layer that an edge passes.
    let mut sizes = vec![(NODE_WIDTH, NODE_HEIGHT); picture.nodes.len()];
    let mut layer_of = depth.clone();
    let mut links: Vec<(u32, u32)> = Vec::new();
    let mut routes: Vec<Vec<usize>> = Vec::new();
    for (to, node) in picture.nodes.iter().enumerate() {
        for (from, _) in &node.inputs {
            let mut route = vec![*from];
            for layer in depth[*from] + 1..depth[to] {
                route.push(sizes.len());
                sizes.push((LANE, NODE_HEIGHT));
                layer_of.push(layer);
            }
            route.push(to);
            links.extend(route.windows(2).map(|pair| (pair[0] as u32, pair[1] as u32)));
            routes.push(route);
        }
    }
    let across = columns(&sizes, &links);
    let place = |vertex: usize| {
        let y = NODE_HEIGHT / 2.0 + 1.0 + layer_of[vertex] as f64 * LAYER;
        (across[vertex], y)
    };
    let right = (0..sizes.len()).map(|v| across[v] + sizes[v].0 / 2.0).fold(0.0, f64::max);
    let bottom = layer_of.iter().max().copied().unwrap_or(0);
    Layout {
        nodes: (0..picture.nodes.len()).map(place).collect(),
        edges: routes.into_iter().map(|route| route.into_iter().map(place).collect()).collect(),
        width: right + 1.0,
        height: NODE_HEIGHT + 2.0 + bottom as f64 * LAYER,
    }
}

/// The horizontal position of each vertex. Parts that hang together by no edge stand side by side.
fn columns(sizes: &[(f64, f64)], links: &[(u32, u32)]) -> Vec<f64> {
    let vertices: Vec<(u32, (f64, f64))> =
        sizes.iter().enumerate().map(|(vertex, &size)| (vertex as u32, size)).collect();
    let config = Config { dummy_vertices: false, vertex_spacing: 9.0, ..Config::default() };
    let parts = rust_sugiyama::from_vertices_and_edges(&vertices, links, &config);
    let mut across = vec![0.0; sizes.len()];
    let mut left = 1.0;
    for (positions, _, _) in parts {
        let edge = |&(vertex, (x, _)): &(usize, (f64, f64))| x - sizes[vertex].0 / 2.0;
        let start = positions.iter().map(edge).fold(f64::INFINITY, f64::min);
        let mut right = left;
        for (vertex, (x, _)) in positions {
            across[vertex] = left + x - start;
            right = f64::max(right, across[vertex] + sizes[vertex].0 / 2.0);
        }
        left = right + LANE;
    }
    across
}
