//! Memory that calls share: the arena, scratch of each thread, packed parameters and sums.

use crate::floats::Floats;

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
