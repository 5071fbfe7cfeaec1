//! The searchers through the catalogue, on NAS-Bench-201's cells with an objective whose optimum is
//! known.

mod world;

mod optimum;
mod protocol;
mod refusals;

use {ghnas_searchers as _, ghnas_space_nas_bench_201 as _};
