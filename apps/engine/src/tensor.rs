//! Tensors as safetensors files hold them.

use std::borrow::Cow;

use safetensors::{Dtype, View};

/// A tensor as a file has it.
pub(crate) struct Tensor<'a> {
    /// Lengths of the dimensions, outermost first.
    pub shape: &'a [usize],
    /// Little-endian f32, row-major.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    /// The tensor of this shape with these values, row-major.
    pub(crate) fn of(shape: &'a [usize], data: &[f32]) -> Self {
        let bytes: Vec<[u8; 4]> = data.iter().map(|value| value.to_le_bytes()).collect();
        Self { shape, bytes: Cow::Owned(bytes.into_flattened()) }
    }

    /// Its values, row-major.
    pub(crate) fn values(&self) -> Vec<f32> {
        self.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }
}

impl View for &Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
