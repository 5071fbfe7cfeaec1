//! Charts as SVG: scatter plots in panels, and lines with shaded intervals.
//!
//! Written by hand, as the drawings of architectures are: every point can carry its name, and the
//! text is a function of the numbers, to the byte.

mod axis;
mod frame;
mod lines;
mod scatter;

pub use lines::{LineChart, LinePoint, Series};
pub use scatter::{Dot, Panel, Scatter};
