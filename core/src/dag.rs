//! A directed acyclic graph over the nodes `0..len`, checked when it is made.

use std::collections::BTreeSet;

/// Why a list of edges is not a DAG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DagError {
    /// An edge starts at a node that does not exist.
    #[error("node {node}: its input {from} does not exist (the graph has {len} nodes)")]
    UnknownNode {
        /// The node that names the input.
        node: usize,
        /// The input it names.
        from: usize,
        /// How many nodes there are.
        len: usize,
    },
    /// The edges run in a circle.
    #[error("node {node}: it lies on a cycle, or behind one")]
    Cycle {
        /// The smallest node that has no place in a topological order.
        node: usize,
    },
}

/// A directed acyclic graph with ordered inputs a node; parallel edges are allowed.
///
/// ```
/// use ghnas_core::Dag;
/// let diamond = Dag::new(vec![vec![], vec![0], vec![0], vec![1, 2]]).unwrap();
/// assert_eq!(diamond.topological_order(), [0, 1, 2, 3]);
/// assert!(Dag::new(vec![vec![1], vec![0]]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dag {
    inputs: Vec<Vec<usize>>,
    consumers: Vec<Vec<usize>>,
    order: Vec<usize>,
}

impl Dag {
    /// Builds a graph in which node `v` reads `inputs[v]`.
    ///
    /// # Errors
    /// [`DagError`] names the first node whose input does not exist or that lies on a cycle.
    pub fn new(inputs: Vec<Vec<usize>>) -> Result<Self, DagError> {
        let len = inputs.len();
        let mut consumers = vec![Vec::new(); len];
        for (node, from) in inputs.iter().enumerate() {
            for &from in from {
                let Some(list) = consumers.get_mut(from) else {
                    return Err(DagError::UnknownNode { node, from, len });
                };
                list.push(node);
            }
        }
        // Kahn's algorithm; ties break by node id, so that the order is a function of the graph.
        let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
        let mut ready: BTreeSet<usize> = (0..len).filter(|&v| missing[v] == 0).collect();
        let mut order = Vec::with_capacity(len);
        while let Some(v) = ready.pop_first() {
            order.push(v);
            for &to in &consumers[v] {
                missing[to] -= 1;
                if missing[to] == 0 {
                    ready.insert(to);
                }
            }
        }
        if order.len() < len {
            let node = (0..len).find(|&v| missing[v] > 0).expect("a node is missing in the order");
            return Err(DagError::Cycle { node });
        }
        Ok(Self { inputs, consumers, order })
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The nodes that `node` reads, in the order given.
    pub fn inputs(&self, node: usize) -> &[usize] {
        &self.inputs[node]
    }

    /// The nodes that read `node`, ascending; once for every edge.
    pub fn consumers(&self, node: usize) -> &[usize] {
        &self.consumers[node]
    }

    /// Every node after its inputs; of several possible orders the smallest.
    pub fn topological_order(&self) -> &[usize] {
        &self.order
    }

    /// The nodes that nothing reads, ascending.
    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&v| self.consumers[v].is_empty())
    }

    /// The nodes from which some node of `targets` can be reached along edges, those included.
    pub fn ancestors_of(&self, targets: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut reaches = vec![false; self.len()];
        for v in targets {
            reaches[v] = true;
        }
        for &v in self.order.iter().rev() {
            if reaches[v] {
                for &from in &self.inputs[v] {
                    reaches[from] = true;
                }
            }
        }
        reaches
    }

    /// The nodes that can be reached from some node of `sources` along edges, those included.
    pub fn descendants_of(&self, sources: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut reached = vec![false; self.len()];
        for v in sources {
            reached[v] = true;
        }
        for &v in &self.order {
            reached[v] |= self.inputs[v].iter().any(|&from| reached[from]);
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_named_by_its_smallest_node() {
        assert_eq!(Dag::new(vec![vec![], vec![2], vec![1]]), Err(DagError::Cycle { node: 1 }));
        assert_eq!(Dag::new(vec![vec![0]]), Err(DagError::Cycle { node: 0 }));
    }

    #[test]
    fn an_unknown_input_is_named() {
        let error = Dag::new(vec![vec![], vec![5]]).unwrap_err();
        assert_eq!(error, DagError::UnknownNode { node: 1, from: 5, len: 2 });
    }

    #[test]
    fn nodes_may_come_in_any_order() {
        let dag = Dag::new(vec![vec![2], vec![0], vec![]]).unwrap();
        assert_eq!(dag.topological_order(), [2, 0, 1]);
        assert_eq!(dag.leaves().collect::<Vec<_>>(), [1]);
        assert_eq!(dag.ancestors_of([0]), [true, false, true]);
        assert_eq!(dag.descendants_of([0]), [true, true, false]);
    }
}
