//! A buffer of f32 for kernels: aligned, kept between calls, and in huge pages where the system has
//! them.
//!
//! A step reads hundreds of megabytes of the arena, an image's part of every buffer in turn. With
//! pages of 4 KiB each such part begins with misses of the address translation.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use ghnas_core::ExecutorError;

/// Bytes of a cache line, to which small buffers are aligned.
const LINE: usize = 64;

/// Bytes of a huge page, to which buffers of more than a quarter of it are aligned.
const HUGE_PAGE: usize = 2 << 20;

/// A buffer that starts on a cache line and keeps its memory.
pub(crate) struct Floats {
    at: NonNull<f32>,
    /// Bytes, all of them initialised; none where nothing is allocated.
    bytes: usize,
}

impl Default for Floats {
    fn default() -> Self {
        Self { at: NonNull::dangling(), bytes: 0 }
    }
}

// SAFETY: it owns its memory, as a vector does.
unsafe impl Send for Floats {}
// SAFETY: shared references to it read nothing but its place and length.
unsafe impl Sync for Floats {}

impl Floats {
    /// Makes room for `len` floats with any content; what it held may be lost.
    ///
    /// # Errors
    /// Where there is no such memory.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<(), ExecutorError> {
        let lacks = || ExecutorError::Device(format!("no memory for {len} values of a network"));
        let needed = len.checked_mul(size_of::<f32>()).ok_or_else(lacks)?;
        if needed <= self.bytes {
            return Ok(());
        }
        // The old memory goes first, so that the two are never held together.
        drop(std::mem::take(self));
        let align = alignment(needed);
        let bytes = needed.checked_next_multiple_of(align).ok_or_else(lacks)?;
        let layout = Layout::from_size_align(bytes, align).map_err(|_| lacks())?;
        // SAFETY: `needed` was more than none, so the layout is not empty.
        let at = NonNull::new(unsafe { alloc(layout) }).ok_or_else(lacks)?;
        if align == HUGE_PAGE {
            ask_for_huge_pages(at, bytes);
        }
        // SAFETY: the bytes were just allocated; zeros are floats.
        unsafe { at.write_bytes(0, bytes) };
        *self = Self { at: at.cast(), bytes };
        Ok(())
    }

    pub(crate) fn start(&mut self) -> *mut f32 {
        self.at.as_ptr()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: the floats are this buffer's own and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.bytes / size_of::<f32>()) }
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // `reserve` rounded the length up to the alignment that it gives again here.
            let layout = Layout::from_size_align(self.bytes, alignment(self.bytes));
            let layout = layout.expect("it was allocated with this layout");
            // SAFETY: it was allocated with this layout.
            unsafe { dealloc(self.at.as_ptr().cast(), layout) };
        }
    }
}

/// What a buffer of as many bytes is aligned to: the same for them and for their next multiple of it.
fn alignment(bytes: usize) -> usize {
    if bytes > HUGE_PAGE / 4 { HUGE_PAGE } else { LINE }
}

/// Has the memory made of huge pages when it is first written, where the system can.
fn ask_for_huge_pages(at: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        // Without them everything is as before, only slower: a refusal is no error.
        // SAFETY: the range is an allocation's own pages, and the advice changes no content.
        let _ = unsafe { madvise(at.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_aligned_and_keep_what_they_have() {
        let mut floats = Floats::default();
        assert!(floats.as_mut_slice().is_empty());
        for len in [1, 16, 1000, HUGE_PAGE / 16 - 1, HUGE_PAGE / 16 + 1, HUGE_PAGE / 2 + 1] {
            floats.reserve(len).unwrap();
            let slice = floats.as_mut_slice();
            assert!(slice.len() >= len);
            let bytes = size_of_val(slice);
            assert_eq!(slice.as_ptr().addr() % alignment(bytes), 0);
            slice.fill(1.0);
            // What is large enough stays as it is.
            floats.reserve(len / 2).unwrap();
            assert_eq!(floats.as_mut_slice()[len - 1], 1.0);
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let mut floats = Floats::default();
        for len in [usize::MAX, usize::MAX / 8] {
            assert!(matches!(floats.reserve(len), Err(ExecutorError::Device(_))));
        }
        floats.reserve(8).unwrap();
        assert_eq!(floats.as_mut_slice().len(), 16);
    }
}
