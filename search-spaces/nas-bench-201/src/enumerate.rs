//! All cells in order: edges in the notation's order, of which the last changes fastest, each over
//! the operations in the benchmark's order (`none`, `skip_connect`, `nor_conv_1x1`,
//! `nor_conv_3x3`, `avg_pool_3x3`).
//!
//! The benchmark's own indices follow the order of its file, which is another one.

use ghnas_core::{Architecture, Enumerate, SpaceError};

use crate::NasBench201;
use crate::cell::{Cell, EDGES, EdgeOperation};

const OPERATIONS: u64 = EdgeOperation::ALL.len() as u64;

/// How many cells there are.
pub(crate) const SIZE: u64 = OPERATIONS.pow(EDGES.len() as u32);

impl Enumerate for NasBench201 {
    fn size(&self) -> u64 {
        SIZE
    }

    fn nth(&self, index: u64) -> Result<Architecture, SpaceError> {
        if index >= SIZE {
            return Err(SpaceError::Index { index, size: SIZE });
        }
        Ok(cell_at(index).architecture())
    }
}

/// The cell at `index`, which is below [`SIZE`].
pub(crate) fn cell_at(index: u64) -> Cell {
    let mut rest = index;
    let mut cell = Cell([EdgeOperation::None; EDGES.len()]);
    for operation in cell.0.iter_mut().rev() {
        *operation = EdgeOperation::ALL[(rest % OPERATIONS) as usize];
        rest /= OPERATIONS;
    }
    cell
}
