//! Memory that calls share: the arena, scratch of each thread, packed parameters and sums.

use ghnas_core::ExecutorError;

/// Floats of a cache line.
const LINE: usize = 16;

/// A buffer that starts on a cache line and keeps its memory.
#[derive(Default)]
pub(crate) struct Floats(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

impl Floats {
    /// Makes room for `len` floats with any content.
    ///
    /// # Errors
    /// Where there is no such memory.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<(), ExecutorError> {
        let more = len.div_ceil(LINE).saturating_sub(self.0.len());
        let words = |_| ExecutorError::Device(format!("no memory for {len} values of a network"));
        self.0.try_reserve_exact(more).map_err(words)?;
        self.0.resize(self.0.len() + more, Line([0.0; LINE]));
        Ok(())
    }

    pub(crate) fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.0.len() * LINE;
        // SAFETY: a line is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts_mut(self.start(), len) }
    }
}

/// Memory that calls share.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) arena: Floats,
    pub(crate) scratch: Vec<Floats>,
    pub(crate) packed: Floats,
    pub(crate) coefficients: Vec<f32>,
    /// By chunk.
    pub(crate) accumulators: Floats,
    pub(crate) sums: Vec<f64>,
    pub(crate) logits: Vec<f32>,
    pub(crate) logit_gradients: Vec<f32>,
}

/// A buffer that threads share, each its own part of it.
pub(crate) struct Pointer<T>(pub(crate) *mut T);

impl<T> Clone for Pointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pointer<T> {}

// SAFETY: each thread makes a reference only to the part of its own chunk or index.
unsafe impl<T> Sync for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Pointer<T> {}

impl<T> Pointer<T> {
    /// `len` values from `at` on.
    ///
    /// # Safety
    /// They lie in the buffer, and no other reference to them is live.
    pub(crate) unsafe fn part<'a>(self, at: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}
