//! The calls of kernels that a plan is made of.

use ghnas_core::ParamId;

use super::{Norm, Term, View};
use crate::kernels::Extent;
use crate::kernels::pool::Square;

/// One call of a kernel, for one image.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// The image, with its channels last.
    Images {
        to: View,
        extent: Extent,
    },
    /// `value` around the rectangle `inside` ([top, left, height, width]), or everywhere.
    Fill {
        at: View,
        extent: Extent,
        inside: Option<[usize; 4]>,
        value: f32,
    },
    Gather {
        terms: Vec<Term>,
        to: View,
        extent: Extent,
    },
    Depthwise {
        from: View,
        taps: Vec<usize>,
        weights: usize,
        to: View,
        extent: Extent,
    },
    DepthwiseGradient {
        from: View,
        taps: Vec<usize>,
        upper: View,
        sum: usize,
        extent: Extent,
    },
    Dense {
        from: View,
        taps: Vec<usize>,
        inputs: usize,
        weights: usize,
        to: View,
        extent: Extent,
    },
    DenseGradient {
        from: View,
        taps: Vec<usize>,
        inputs: usize,
        upper: View,
        sum: usize,
        extent: Extent,
    },
    MaxPool {
        from: View,
        window: Square,
        to: View,
        extent: Extent,
    },
    MaxPoolGradient {
        from: View,
        window: Square,
        upper: View,
        to: View,
        extent: Extent,
    },
    /// For windows that slide; `rows` is scratch.
    SlidingMaxPoolGradient {
        from: View,
        upper: View,
        to: View,
        rows: View,
        extent: Extent,
    },
    /// Factors start at `factors` in the plan's constants, where there are any.
    WindowSum {
        from: View,
        window: Square,
        to: View,
        factors: Option<usize>,
        extent: Extent,
    },
    /// Factors start at `factors` in the plan's constants.
    Scale {
        at: View,
        factors: usize,
        extent: Extent,
    },
    GlobalMean {
        from: View,
        to: View,
        extent: Extent,
    },
    Linear {
        from: View,
        length: usize,
        weights: usize,
        bias: Option<ParamId>,
        to: View,
        outputs: usize,
    },
    LinearGradient {
        from: View,
        length: usize,
        upper: View,
        outputs: usize,
        sum: usize,
    },
    BiasGradient {
        upper: View,
        outputs: usize,
        sum: usize,
    },
    LinearBack {
        upper: View,
        length: usize,
        weights: usize,
        to: View,
        outputs: usize,
    },
    Moments {
        from: View,
        extent: Extent,
        sums: usize,
    },
    GradientMoments {
        upper: View,
        norm: usize,
        extent: Extent,
        sums: usize,
    },
}

impl Op {
    /// Calls `f` with every buffer that it reads or writes.
    pub(super) fn buffers(&self, norms: &[Norm], mut f: impl FnMut(usize)) {
        let mut views = |views: &[View]| views.iter().for_each(|view| f(view.buffer));
        match self {
            Self::Images { to, .. } => views(&[*to]),
            Self::Fill { at, .. } | Self::Scale { at, .. } => views(&[*at]),
            Self::Gather { terms, to, .. } => {
                views(&[*to]);
                for term in terms {
                    views(&[term.x]);
                    views(term.mask.map(|mask| mask.x).as_slice());
                }
            }
            Self::Depthwise { from, to, .. }
            | Self::Dense { from, to, .. }
            | Self::MaxPool { from, to, .. }
            | Self::WindowSum { from, to, .. }
            | Self::GlobalMean { from, to, .. }
            | Self::Linear { from, to, .. } => views(&[*from, *to]),
            Self::DepthwiseGradient { from, upper, .. }
            | Self::DenseGradient { from, upper, .. }
            | Self::LinearGradient { from, upper, .. } => views(&[*from, *upper]),
            Self::MaxPoolGradient { from, upper, to, .. } => views(&[*from, *upper, *to]),
            Self::SlidingMaxPoolGradient { from, upper, to, rows, .. } => {
                views(&[*from, *upper, *to, *rows]);
            }
            Self::BiasGradient { upper, .. } => views(&[*upper]),
            Self::LinearBack { upper, to, .. } => views(&[*upper, *to]),
            Self::Moments { from, .. } => views(&[*from]),
            Self::GradientMoments { upper, norm, .. } => views(&[*upper, norms[*norm].x]),
        }
    }
}
