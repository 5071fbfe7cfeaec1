//! In which order the nodes of a module's graph send messages and update: plain data.

use serde::{Deserialize, Serialize};

use crate::dag::Dag;

/// One update of some nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStep {
    /// The nodes whose embeddings are updated, all from the embeddings before this step.
    pub updates: Vec<usize>,
    /// Messages (from, to); `to` is one of `updates`. A message may travel along an edge or
    /// against it.
    pub messages: Vec<(usize, usize)>,
}

/// The steps of a propagation over one module graph (section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The steps, one after the other.
    pub steps: Vec<ScheduleStep>,
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A step names a node that the graph does not have.
    #[error("schedule step {step}: node {node} does not exist")]
    UnknownNode {
        /// Position of the step.
        step: usize,
        /// The node it names.
        node: usize,
    },
    /// A step updates a node twice.
    #[error("schedule step {step}: node {node} is updated twice")]
    Twice {
        /// Position of the step.
        step: usize,
        /// The node.
        node: usize,
    },
    /// A message does not follow an edge in either direction, or goes to a node at rest.
    #[error("schedule step {step}: no message can go from node {from} to node {to}")]
    Message {
        /// Position of the step.
        step: usize,
        /// Sender.
        from: usize,
        /// Receiver.
        to: usize,
    },
    /// Anything else, such as a plugin's own words.
    #[error("{0}")]
    Other(String),
}

impl Schedule {
    /// Checks that every step names nodes of `graph` once and that messages follow its edges.
    ///
    /// # Errors
    /// [`ScheduleError`] names the first step that does not.
    pub fn validate(&self, graph: &Dag) -> Result<(), ScheduleError> {
        for (step, entry) in self.steps.iter().enumerate() {
            let mut updated = vec![false; graph.len()];
            for &node in &entry.updates {
                match updated.get_mut(node) {
                    None => return Err(ScheduleError::UnknownNode { step, node }),
                    Some(true) => return Err(ScheduleError::Twice { step, node }),
                    Some(flag) => *flag = true,
                }
            }
            for &(from, to) in &entry.messages {
                let known = from < graph.len() && to < graph.len() && updated[to];
                let edge =
                    known && (graph.inputs(to).contains(&from) || graph.inputs(from).contains(&to));
                if !edge {
                    return Err(ScheduleError::Message { step, from, to });
                }
            }
        }
        Ok(())
    }

    /// The number of single-node updates.
    pub fn update_count(&self) -> usize {
        self.steps.iter().map(|step| step.updates.len()).sum()
    }
}

/// Turns a module graph into a schedule (sections 3 and 4.4).
///
/// ```
/// use ghnas_core::{Dag, Propagator, Schedule, ScheduleError, ScheduleStep};
///
/// /// Each node hears its inputs once, in order.
/// struct Forward;
///
/// impl Propagator for Forward {
///     fn schedule(&self, graph: &Dag, _rounds: usize) -> Result<Schedule, ScheduleError> {
///         let step = |&node: &usize| ScheduleStep {
///             updates: vec![node],
///             messages: graph.inputs(node).iter().map(|&from| (from, node)).collect(),
///         };
///         Ok(Schedule { steps: graph.topological_order().iter().map(step).collect() })
///     }
/// }
///
/// let chain = Dag::new(vec![vec![], vec![0]]).unwrap();
/// let schedule = Forward.schedule(&chain, 1).unwrap();
/// assert!(schedule.validate(&chain).is_ok());
/// assert_eq!(schedule.update_count(), 2);
/// ```
pub trait Propagator: Send + Sync {
    /// The steps of `rounds` rounds (T in the paper) over `graph`.
    ///
    /// # Errors
    /// [`ScheduleError`] where the scheme cannot make one.
    fn schedule(&self, graph: &Dag, rounds: usize) -> Result<Schedule, ScheduleError>;
}
