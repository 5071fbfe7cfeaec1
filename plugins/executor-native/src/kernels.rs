//! Kernels over one image: channels last, channels padded to a multiple of [`LANES`] with zeros.
//!
//! No kernel knows of padding or batches: rows and columns of padding are part of the buffers that
//! they read, and the taps of a window are offsets from its first pixel.

pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod gather;
pub(crate) mod pool;
pub(crate) mod small;
pub(crate) mod statistics;

use crate::instructions::LANES;

/// Where the pixels of one image stand: the first one, and the steps between rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) at: *const f32,
    /// Floats from row to row.
    pub(crate) row: usize,
    /// Floats from pixel to pixel.
    pub(crate) pixel: usize,
}

impl Source {
    /// # Safety
    /// The pixel lies in the buffer.
    #[inline(always)]
    unsafe fn pixel(&self, y: usize, x: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.at.add(y * self.row + x * self.pixel) }
    }
}

/// As [`Source`], to be written.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) at: *mut f32,
    /// Floats from row to row.
    pub(crate) row: usize,
    /// Floats from pixel to pixel.
    pub(crate) pixel: usize,
}

impl Target {
    /// # Safety
    /// The pixel lies in the buffer.
    #[inline(always)]
    unsafe fn pixel(&self, y: usize, x: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.at.add(y * self.row + x * self.pixel) }
    }
}

/// Rows, columns and vectors of channels that a kernel covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels, padded, by [`LANES`].
    pub(crate) blocks: usize,
}

impl Extent {
    /// One row instead of many where rows follow each other without a gap in all buffers: each
    /// given as (row, pixel).
    #[inline(always)]
    fn flat<const N: usize>(self, buffers: [(usize, usize); N]) -> Self {
        if buffers.iter().all(|&(row, pixel)| row == self.width * pixel) {
            Self { height: 1, width: self.height * self.width, ..self }
        } else {
            self
        }
    }
}

/// Calls `$body` with `$x` at the start of each run of `$n` pixels that covers `0..$width`. Runs
/// may overlap, so `$body` must write the same values when it comes again.
macro_rules! for_runs {
    ($width:expr, [$($size:literal),+], |$x:ident, $n:ident| $body:expr) => {{
        let width: usize = $width;
        let mut $x = 0;
        $(
            if width >= $size && $x < width {
                const $n: usize = $size;
                loop {
                    $body;
                    $x += $n;
                    if $x >= width {
                        break;
                    }
                    $x = $x.min(width - $n);
                }
            }
        )+
        let _ = $x;
    }};
}
use for_runs;

const _: () = assert!(LANES == 8, "Simd's vectors have eight lanes");
