//! Parameters in the order that the kernels read, and their gradients back.

use ghnas_core::ParamId;

use crate::plan::padded;

/// How the kernels read a parameter. Channels are padded with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// [taps, inputs, outputs] from [outputs, inputs / groups, taps]; zeros between groups.
    Dense { taps: usize, inputs: usize, outputs: usize, groups: usize },
    /// [taps, channels] from [channels, 1, taps].
    Depthwise { taps: usize, channels: usize },
    /// [outputs, pixels, channels] from [outputs, channels, pixels].
    Matrix { outputs: usize, channels: usize, pixels: usize },
    /// As it is.
    Vector { len: usize },
}

impl Layout {
    /// Floats, padding included.
    pub(crate) fn len(&self) -> usize {
        match *self {
            Self::Dense { taps, inputs, outputs, .. } => taps * padded(inputs) * padded(outputs),
            Self::Depthwise { taps, channels } => taps * padded(channels),
            Self::Matrix { outputs, channels, pixels } => outputs * pixels * padded(channels),
            Self::Vector { len } => padded(len),
        }
    }

    /// Calls `f` with the place of each value in the layout, in the parameter, and in the
    /// transposed form.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        match *self {
            Self::Dense { taps, inputs, outputs, groups } => {
                let (wide, high) = (padded(outputs), padded(inputs));
                let (group_inputs, group_outputs) = (inputs / groups, outputs / groups);
                let mut from = 0;
                for output in 0..outputs {
                    let first = output / group_outputs * group_inputs;
                    for input in first..first + group_inputs {
                        for tap in 0..taps {
                            let to = (tap * high + input) * wide + output;
                            f(to, from, (tap * wide + output) * high + input);
                            from += 1;
                        }
                    }
                }
            }
            Self::Depthwise { taps, channels } => {
                for channel in 0..channels {
                    for tap in 0..taps {
                        let to = tap * padded(channels) + channel;
                        f(to, channel * taps + tap, to);
                    }
                }
            }
            Self::Matrix { outputs, channels, pixels } => {
                for output in 0..outputs {
                    for channel in 0..channels {
                        for pixel in 0..pixels {
                            let to = (output * pixels + pixel) * padded(channels) + channel;
                            f(to, (output * channels + channel) * pixels + pixel, to);
                        }
                    }
                }
            }
            Self::Vector { len } => (0..len).for_each(|at| f(at, at, at)),
        }
    }
}

/// A parameter's place among the packed ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    pub(crate) param: ParamId,
    pub(crate) layout: Layout,
    pub(crate) at: usize,
    /// The transposed form's place, where it is needed.
    pub(crate) transposed: Option<usize>,
}

impl Packed {
    /// The floats of its places, each with its length.
    pub(crate) fn extents(&self) -> [(usize, usize); 2] {
        let len = self.layout.len();
        [(self.at, len), (self.transposed.unwrap_or(self.at), self.transposed.map_or(0, |_| len))]
    }

    /// Writes the parameter to its place and to that of the transposed form, which is empty where
    /// it is not needed.
    pub(crate) fn write(&self, values: &[f32], to: &mut [f32], transposed: &mut [f32]) {
        to.fill(0.0);
        if transposed.is_empty() {
            return self.layout.each(|place, from, _| to[place] = values[from]);
        }
        transposed.fill(0.0);
        self.layout.each(|place, from, back| {
            to[place] = values[from];
            transposed[back] = values[from];
        });
    }
}

/// Writes the sum of `parts`, each in the layout, to a gradient in the parameter's order. The
/// first part is left with the sum.
pub(crate) fn unpack_sum<'a>(
    layout: Layout,
    first: &mut [f32],
    others: impl Iterator<Item = &'a [f32]>,
    gradient: &mut [f32],
) {
    for part in others {
        first.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    layout.each(|place, to, _| gradient[to] = first[place]);
}
