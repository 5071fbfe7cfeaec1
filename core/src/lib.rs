//! The domain of ghnas: architectures, the networks they lower to, and the traits of everything
//! that can be chosen: search spaces, operations, propagators, weight generators, searchers,
//! executors and zero-cost proxies.
//!
//! This crate knows no tensor library, file, clock, dynamic library or global randomness.

pub mod architecture;
pub mod averaging;
pub mod canonical;
pub mod counts;
pub mod dag;
pub mod embedding;
pub mod executor;
pub mod generator;
pub mod loss;
pub mod network;
pub mod operation;
pub mod param;
pub mod primitive;
pub mod proxy;
pub mod registry;
pub mod rng;
pub mod schedule;
pub mod searcher;
pub mod shape;
pub mod slicing;
pub mod space;
pub mod tickets;

/// Registration without a dependency of one's own.
pub use inventory;

pub use architecture::{Architecture, ArchitectureError, Edge, Motif, MotifNode};
pub use averaging::Averaging;
pub use canonical::ArchitectureHash;
pub use counts::{Counting, MultiplyAdds, multiply_adds};
pub use dag::{Dag, DagError};
pub use embedding::{Embed, Encoder, EncoderError};
pub use executor::{Executor, ExecutorError, Images};
pub use generator::{
    GeneratorError, GeneratorState, StateTensor, StepOptions, StepReport, Ticket, WeightGenerator,
};
pub use loss::LossSum;
pub use network::{
    Fragment, FragmentParam, FragmentStep, Module, Network, NetworkBuilder, NetworkError,
    NetworkSpec, Node, NodeBuilder, Output, ParamRequest, Step, ValueId,
};
pub use operation::{Operation, OperationContext};
pub use param::{NodeId, ParamId, ParamRole, ParamSpec, Weights};
pub use primitive::{BATCH_NORM_EPSILON, Convolution, Primitive, Window};
pub use proxy::{Proxy, ProxyError};
pub use registry::{
    BuildContext, Catalogue, Device, Factory, Preset, Registration, RegistryError, Settings,
};
pub use schedule::{Propagator, Schedule, ScheduleError, ScheduleStep};
pub use searcher::{CandidateId, Command, Outcome, Searcher, SearcherError};
pub use shape::Shape;
pub use slicing::{Slicing, SlicingError};
pub use space::{Enumerate, Evolve, Phase, SearchSpace, SpaceError, Task};
pub use tickets::Tickets;
