//! Laws that hold for every graph, architecture, slice, network, space and schedule.

mod graphs;

mod architectures;

mod slicing;

mod networks;

mod schedules;
mod spaces;
