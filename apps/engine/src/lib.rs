//! The engine of ghnas: data sets, studies on disk, training of weight generators, scoring and
//! search.
//!
//! A [`Study`] is a directory with everything needed to go on. [`Parts`] are what its [`Config`]
//! chooses from the catalogue. [`search()`] runs both; [`train()`], [`score()`] and [`rank()`] are
//! its pieces. This crate parses no arguments and knows no terminal.

pub mod chart;
pub mod comparison;
pub mod config;
pub mod data;
pub mod draw;

mod atomic;
mod bench;
mod budget;
mod calibration;
mod checkpoint;
mod encoder;
mod error;
mod fault;
mod gradient;
mod lock;
mod lowering;
mod methods;
mod observer;
mod parts;
mod random_search;
mod references;
mod report;
mod sampling;
mod scorer;
mod scratch;
mod search;
mod selection;
mod spares;
mod speed;
mod step_inputs;
mod store;
mod study;
mod tabular;
mod tensor;
mod train;
mod truth;
mod validation;

#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod toy;

pub use atomic::replace_file;
pub use bench::{
    BenchOptions, Measured, OpBench, OpsBench, Pass, Roofline, ScoreBench, StepBench, Timing,
    bench_ops, bench_score, bench_step, write_step_tensors,
};
pub use config::{
    ComparisonConfig, Config, ConfigError, EnsembleLoss, MethodConfig, MethodKind, Objective,
    Resolved, Sampling, Selection, TruthConfig, VariantConfig, resolve, resolve_comparison,
};
pub use encoder::study_encoder;
pub use error::EngineError;
pub use methods::{MemoryPoint, MethodsWork, memory, score_methods};
pub use observer::{Clock, Context, Interrupt, Observer, Progress, Silent, SystemClock};
pub use parts::{Parts, build_space, load_data};
pub use random_search::RandomSearch;
pub use report::{GeneratorReport, Ranked, Seconds, StudyReport};
pub use scorer::{Score, ScoreError, Scorer};
pub use search::{ProxyWork, front_svg, rank, rank_by_proxy, score, search};
pub use selection::SelectionReport;
pub use spares::Spares;
pub use store::{Candidate, CandidateState, TrainingStep};
pub use study::{Opening, Study};
pub use tabular::{
    RegretPoint, SearcherReport, TableColumns, TableReport, TabularReport, TabularTable,
    TabularWork, regret_csv, regret_svg, search_table,
};
pub use train::train;
pub use truth::{
    Piece, Truth, TruthHeader, TruthReport, TruthRow, TruthTable, TruthWork, read_csv,
    sample_truth, train_truth, truth_column,
};
pub use validation::{Evaluation, ProbeLoss};
