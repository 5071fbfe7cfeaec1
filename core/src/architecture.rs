//! What is searched: an architecture, made of motifs, and its JSON form.

use std::collections::BTreeMap;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::dag::{Dag, DagError};

/// The version of the JSON form that this release writes and reads.
pub const SCHEMA: u32 = 1;

/// Why an architecture cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchitectureError {
    /// The text is not JSON of the expected form.
    #[error("not an architecture: {0}")]
    Json(String),
    /// The document was written for another schema version.
    #[error("architecture schema {found} is not {SCHEMA}, the one this release reads")]
    Schema {
        /// The version in the document.
        found: u32,
    },
    /// A motif's edges are not those of a DAG.
    #[error("motif '{motif}': {error}")]
    Graph {
        /// The motif's name.
        motif: String,
        /// What is wrong with its edges.
        error: DagError,
    },
    /// A node names an operation that the space does not have.
    #[error("motif '{motif}', node {node}: unknown operation '{op}'{}", suggestion(.nearest))]
    UnknownOperation {
        /// The motif's name.
        motif: String,
        /// The node.
        node: usize,
        /// The operation it names.
        op: String,
        /// The nearest name that the space has.
        nearest: Option<String>,
    },
    /// The architecture is well formed but breaks a rule of its space.
    #[error("motif '{motif}', node {node}: {reason}")]
    Rule {
        /// The motif's name.
        motif: String,
        /// The node.
        node: usize,
        /// The rule, and what to change.
        reason: String,
    },
    /// The architecture as a whole breaks a rule of its space.
    #[error("{0}")]
    Shape(String),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

/// An edge into a motif node: the node it comes from, and an operation where the space puts
/// operations on edges (NAS-Bench-201, DARTS).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Edge {
    /// Only the node that the edge comes from.
    Plain(usize),
    /// The node that the edge comes from, through an operation.
    Through {
        /// The node that the edge comes from.
        from: usize,
        /// The operation on the edge.
        op: String,
    },
}

impl Edge {
    /// The node that the edge comes from.
    pub fn from(&self) -> usize {
        match *self {
            Self::Plain(from) | Self::Through { from, .. } => from,
        }
    }

    /// The operation on the edge, where there is one.
    pub fn op(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Through { op, .. } => Some(op),
        }
    }
}

/// Written by hand: serde's untagged enums copy every value before they look at it, and a motif
/// has many edges.
impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EdgeVisitor)
    }
}

struct EdgeVisitor;

/// An edge through an operation, as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThroughDocument {
    from: usize,
    op: String,
}

impl<'de> Visitor<'de> for EdgeVisitor {
    type Value = Edge;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the number of a node, or an object with from and op")
    }

    fn visit_u64<E: de::Error>(self, from: u64) -> Result<Edge, E> {
        let wrong = || E::invalid_value(Unexpected::Unsigned(from), &self);
        usize::try_from(from).map(Edge::Plain).map_err(|_| wrong())
    }

    fn visit_i64<E: de::Error>(self, from: i64) -> Result<Edge, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(from), &self);
        usize::try_from(from).map(Edge::Plain).map_err(|_| wrong())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Edge, A::Error> {
        let through = ThroughDocument::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Edge::Through { from: through.from, op: through.op })
    }
}

/// A node of a motif: its operation, what it reads, and integer attributes (scale, exit, index).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotifNode {
    /// The operation's name; `input` for a node that takes the value of an earlier module.
    pub op: String,
    /// What the node reads; the order carries no meaning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Edge>,
    /// Further properties, such as which earlier module an input takes (`index`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, i64>,
}

impl MotifNode {
    /// A node without attributes that reads plain edges.
    pub fn new(op: impl Into<String>, inputs: impl IntoIterator<Item = usize>) -> Self {
        Self {
            op: op.into(),
            inputs: inputs.into_iter().map(Edge::Plain).collect(),
            attributes: BTreeMap::new(),
        }
    }
}

/// A motif: a DAG of nodes that a network repeats. Always acyclic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Motif {
    name: String,
    nodes: Vec<MotifNode>,
    dag: Dag,
}

impl Motif {
    /// A motif named `name` over `nodes`, which refer to each other by position.
    ///
    /// # Errors
    /// [`ArchitectureError::Graph`] where the edges are not those of a DAG.
    pub fn new(name: impl Into<String>, nodes: Vec<MotifNode>) -> Result<Self, ArchitectureError> {
        let name = name.into();
        let edges = nodes.iter().map(|node| node.inputs.iter().map(Edge::from).collect());
        match Dag::new(edges.collect()) {
            Ok(dag) => Ok(Self { name, nodes, dag }),
            Err(error) => Err(ArchitectureError::Graph { motif: name, error }),
        }
    }

    /// The motif's role in the network (`cell`, `normal`, `reduction`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes; edges refer to them by position.
    pub fn nodes(&self) -> &[MotifNode] {
        &self.nodes
    }

    /// The motif's edges.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// The same motif with node `order[i]` moved to position `i`.
    ///
    /// # Panics
    /// Where `order` is not a permutation of the node positions.
    pub fn reordered(&self, order: &[usize]) -> Self {
        assert_eq!(order.len(), self.nodes.len(), "an order names every node once");
        let mut position = vec![usize::MAX; order.len()];
        for (new, &old) in order.iter().enumerate() {
            position[old] = new;
        }
        let nodes = order.iter().map(|&old| {
            let mut node = self.nodes[old].clone();
            for edge in &mut node.inputs {
                match edge {
                    Edge::Plain(from) | Edge::Through { from, .. } => *from = position[*from],
                }
            }
            node.inputs.sort();
            node
        });
        Self::new(self.name.clone(), nodes.collect()).expect("a relabelled DAG is a DAG")
    }
}

/// An architecture of a search space. Immutable; serialises as JSON with a schema version.
///
/// ```
/// use ghnas_core::Architecture;
/// let text = r#"{"schema":1,"space":"cell","motifs":[{"name":"cell","nodes":[
///     {"op":"input","attributes":{"index":0}},
///     {"op":"conv_1x1","inputs":[0]}]}]}"#;
/// let arch: Architecture = text.parse().unwrap();
/// assert_eq!(arch.motifs()[0].nodes()[1].op, "conv_1x1");
/// assert_eq!(arch.to_string().parse::<Architecture>().unwrap(), arch);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    space: String,
    motifs: Vec<Motif>,
}

impl Architecture {
    /// An architecture of the space with id `space`.
    pub fn new(space: impl Into<String>, motifs: Vec<Motif>) -> Self {
        Self { space: space.into(), motifs }
    }

    /// The id of the search space that it belongs to.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// The motifs, in the order that the space lists them.
    pub fn motifs(&self) -> &[Motif] {
        &self.motifs
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<Name, Motifs> {
    schema: u32,
    space: Name,
    motifs: Motifs,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MotifDocument<Name, Nodes> {
    name: Name,
    nodes: Nodes,
}

type ArchitectureDocument = Document<String, Vec<MotifDocument<String, Vec<MotifNode>>>>;

impl Serialize for Architecture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn document(motif: &Motif) -> MotifDocument<&str, &[MotifNode]> {
            MotifDocument { name: motif.name(), nodes: motif.nodes() }
        }
        let motifs: Vec<_> = self.motifs.iter().map(document).collect();
        Document { schema: SCHEMA, space: &*self.space, motifs }.serialize(serializer)
    }
}

impl TryFrom<ArchitectureDocument> for Architecture {
    type Error = ArchitectureError;

    fn try_from(document: ArchitectureDocument) -> Result<Self, ArchitectureError> {
        if document.schema != SCHEMA {
            return Err(ArchitectureError::Schema { found: document.schema });
        }
        let motifs = document.motifs.into_iter().map(|motif| Motif::new(motif.name, motif.nodes));
        Ok(Self { space: document.space, motifs: motifs.collect::<Result<_, _>>()? })
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = ArchitectureDocument::deserialize(deserializer)?;
        document.try_into().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Architecture {
    type Err = ArchitectureError;

    fn from_str(text: &str) -> Result<Self, ArchitectureError> {
        let document: ArchitectureDocument = serde_json::from_str(text)
            .map_err(|error| ArchitectureError::Json(error.to_string()))?;
        document.try_into()
    }
}

impl std::fmt::Display for Architecture {
    /// One line of JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
