//! Slices of the largest kernel of a kind, and tiles of it where more is wanted (section 7.2).
//!
//! Rows and columns come from the centre. Channels are a contiguous centred range; where a
//! parameter has more channels than the largest kernel, copies of it are laid side by side.

/// Why one shape cannot be cut from another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlicingError {
    /// The shapes have different numbers of dimensions.
    #[error("shape {shape:?} cannot be cut from {largest:?}: the ranks differ")]
    Rank {
        /// What is wanted.
        shape: Vec<usize>,
        /// What there is.
        largest: Vec<usize>,
    },
    /// A spatial side is longer than that of the largest kernel; only channels are tiled.
    #[error("kernel {shape:?} exceeds the generated {largest:?}")]
    Kernel {
        /// What is wanted.
        shape: Vec<usize>,
        /// What there is.
        largest: Vec<usize>,
    },
    /// A dimension is empty, or the rank is not 1 to 4.
    #[error("shapes {shape:?} and {largest:?} must have 1 to 4 dimensions, none empty")]
    Empty {
        /// What is wanted.
        shape: Vec<usize>,
        /// What there is.
        largest: Vec<usize>,
    },
}

/// Which element of the largest kernel each element of a parameter is.
///
/// ```
/// use ghnas_core::Slicing;
/// let centre = Slicing::new(&[1, 1, 3, 3], &[1, 1, 1, 1]).unwrap();
/// assert_eq!(centre.indices().collect::<Vec<_>>(), [4]);
/// let tiled = Slicing::new(&[2], &[5]).unwrap();
/// assert_eq!(tiled.indices().collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slicing {
    largest: [usize; 4],
    shape: [usize; 4],
    offset: [usize; 4],
}

/// The first of the dimensions that are spatial; those before it are channels.
const SPATIAL: usize = 2;

impl Slicing {
    /// The slice (or tiling) of shape `shape` of a kernel of shape `largest`.
    ///
    /// # Errors
    /// [`SlicingError`] where the ranks differ or a spatial side is too long.
    pub fn new(largest: &[usize], shape: &[usize]) -> Result<Self, SlicingError> {
        let named = || (shape.to_vec(), largest.to_vec());
        if shape.len() != largest.len() {
            let (shape, largest) = named();
            return Err(SlicingError::Rank { shape, largest });
        }
        let empty = shape.contains(&0) || largest.contains(&0);
        if shape.is_empty() || shape.len() > 4 || empty {
            let (shape, largest) = named();
            return Err(SlicingError::Empty { shape, largest });
        }
        let pad = |dims: &[usize]| {
            let mut padded = [1; 4];
            padded[..dims.len()].copy_from_slice(dims);
            padded
        };
        let (whole, part) = (pad(largest), pad(shape));
        if (SPATIAL..4).any(|axis| part[axis] > whole[axis]) {
            let (shape, largest) = named();
            return Err(SlicingError::Kernel { shape, largest });
        }
        // Halves are rounded before the difference, so that a slice of a slice is the slice.
        let offset = std::array::from_fn(|axis| (whole[axis] / 2).saturating_sub(part[axis] / 2));
        Ok(Self { largest: whole, shape: part, offset })
    }

    /// The number of elements of the parameter.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Always false: no dimension is empty.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of elements of the largest kernel.
    pub fn largest_len(&self) -> usize {
        self.largest.iter().product()
    }

    /// For each element of the parameter, row-major, its position in the largest kernel.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        let [d0, d1, d2, d3] = self.shape;
        (0..d0).flat_map(move |a| {
            (0..d1).flat_map(move |b| {
                (0..d2).flat_map(move |c| (0..d3).map(move |d| self.index([a, b, c, d])))
            })
        })
    }

    /// Cuts the parameter `out` from the kernel `largest`, both row-major.
    ///
    /// # Panics
    /// Where the lengths are not those of the shapes.
    pub fn cut(&self, largest: &[f32], out: &mut [f32]) {
        assert_eq!(largest.len(), self.largest_len(), "length of the largest kernel");
        assert_eq!(out.len(), self.len(), "length of the parameter");
        for (out, index) in out.iter_mut().zip(self.indices()) {
            *out = largest[index];
        }
    }

    /// Adds the gradient of the parameter to that of the largest kernel: the adjoint of
    /// [`cut`](Self::cut). Tiles add up.
    ///
    /// # Panics
    /// Where the lengths are not those of the shapes.
    pub fn add_gradient(&self, gradient: &[f32], largest_gradient: &mut [f32]) {
        assert_eq!(largest_gradient.len(), self.largest_len(), "length of the largest kernel");
        assert_eq!(gradient.len(), self.len(), "length of the parameter");
        for (gradient, index) in gradient.iter().zip(self.indices()) {
            largest_gradient[index] += gradient;
        }
    }

    fn index(&self, position: [usize; 4]) -> usize {
        (0..4).fold(0, |index, axis| {
            // Where the parameter is not longer, the remainder changes nothing.
            let along = (self.offset[axis] + position[axis]) % self.largest[axis];
            index * self.largest[axis] + along
        })
    }
}
