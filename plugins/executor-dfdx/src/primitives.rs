//! The primitives, each as a few dfdx expressions over flat tensors.

use dfdx::dtypes::Dtype;
use dfdx::shapes::{Axes2, Axis};
use dfdx::tensor::Tape;
use dfdx::tensor_ops::{
    BroadcastTo, ChooseFrom, Device, MeanTo, PermuteTo, ReshapeTo, SumTo, TryAdd, TryDiv, TryLe,
    TryMatMul, TryMul, TrySub,
};
use ghnas_core::{BATCH_NORM_EPSILON, Convolution, ParamId, Primitive, Shape, Window};

use crate::record::{Flat, Recorder, Source};

/// One step of a network over a batch.
pub(crate) struct Call<'a, E: Dtype, D: Device<E>> {
    /// Images in the batch; every value is [count, channels, height, width].
    pub(crate) count: usize,
    /// Values and their shapes for one image.
    pub(crate) inputs: &'a [(&'a Flat<E, D>, Shape)],
    /// The result's shape for one image.
    pub(crate) output: Shape,
    /// All parameters of the network.
    pub(crate) params: &'a [Flat<E, D>],
}

impl<E: Dtype, D: Device<E>> Call<'_, E, D> {
    fn param(&self, id: ParamId) -> &Flat<E, D> {
        &self.params[id.index()]
    }

    fn input(&self) -> (&Flat<E, D>, Shape) {
        self.inputs[0]
    }

    /// (image, channel, row, column) of every element of the result, row-major.
    fn outputs(&self) -> impl Iterator<Item = [usize; 4]> + use<E, D> {
        positions([self.count, self.output.channels, self.output.height, self.output.width])
    }
}

impl<E: Dtype, D: Device<E>, T: Tape<E, D>> Recorder<E, D, T> {
    /// The result of `primitive`, [count, output shape].
    pub(crate) fn compute(
        &mut self,
        primitive: &Primitive,
        call: &Call<'_, E, D>,
    ) -> Result<Flat<E, D>, D::Err> {
        match *primitive {
            Primitive::Conv2d(conv) => self.conv2d(conv, call),
            Primitive::BatchNorm { scale, shift } => self.batch_norm(scale, shift, call),
            Primitive::Relu => self.relu(call),
            Primitive::MaxPool(window) => self.max_pool(window, call),
            Primitive::AveragePool { window, count_padding } => {
                self.average_pool(window, count_padding, call)
            }
            Primitive::GlobalAveragePool => self.global_average_pool(call),
            Primitive::Linear { weight, bias, .. } => self.linear(weight, bias, call),
            Primitive::Add => self.add(call),
            Primitive::Concat => self.concat(call),
            Primitive::Upsample { factor } => self.upsample(factor, call),
            Primitive::Zero { .. } => {
                let length = call.count * call.output.elements();
                self.constant(vec![E::default(); length], (length,))
            }
        }
    }

    /// Unfolds the input to one column an application of the kernel, and multiplies.
    fn conv2d(&mut self, conv: Convolution, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let Convolution { out_channels, kernel, stride, dilation, padding, groups, .. } = conv;
        let (input, shape) = call.input();
        let (per_group, out_per_group) = (shape.channels / groups, out_channels / groups);
        let taps = per_group * kernel[0] * kernel[1];
        let applications = call.count * call.output.pixels();

        let taps_of_groups = positions([groups, per_group, kernel[0], kernel[1]]);
        let sources = taps_of_groups.flat_map(|[group, channel, tap_row, tap_column]| {
            let Shape { height, width, .. } = call.output;
            positions([1, call.count, height, width]).map(move |[_, image, row, column]| {
                let row = (row * stride + tap_row * dilation).checked_sub(padding[0]);
                let column = (column * stride + tap_column * dilation).checked_sub(padding[1]);
                source(shape, image, group * per_group + channel, row, column)
            })
        });
        let unfolded = self.gather(&[input], sources)?;
        // unfolded: [groups, taps, applications]
        let unfolded = unfolded.try_reshape_like(&(groups, taps, applications))?;
        // weight: [groups, out_per_group, taps]; product: [groups, out_per_group, applications]
        let product = self.record(call.param(conv.weight), |weight| {
            weight
                .try_reshape_like(&(groups, out_per_group, taps))?
                .try_matmul(unfolded)?
                .try_reshape_like(&(out_channels * applications,))
        })?;
        // From [out, count, height, width] to [count, out, height, width].
        let pixels = call.output.pixels();
        let sources = call.outputs().map(|[image, channel, row, column]| {
            let pixel = row * call.output.width + column;
            Source::At((channel * call.count + image) * pixels + pixel)
        });
        self.gather(&[&product], sources)
    }

    fn batch_norm(
        &mut self,
        scale: Option<ParamId>,
        shift: Option<ParamId>,
        call: &Call<'_, E, D>,
    ) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let dims = (call.count, shape.channels, shape.pixels());
        let input = input.clone().try_reshape_like(&dims)?;
        let mean = self.record(&input, |x| x.try_mean::<(usize,), Axes2<0, 2>>())?;
        let mean = mean.try_broadcast_like::<_, Axes2<0, 2>>(&dims)?;
        let centred = self.record(&input, |x| x.try_sub(mean))?;
        let deviation = self.record(&centred, |x| {
            let variance = x.try_square()?.try_mean::<(usize,), Axes2<0, 2>>()?;
            variance.try_add(number::<E>(f64::from(BATCH_NORM_EPSILON)))?.try_sqrt()
        })?;
        let deviation = deviation.try_broadcast_like::<_, Axes2<0, 2>>(&dims)?;
        let mut result = self.record(&centred, |x| x.try_div(deviation))?;
        if let Some(scale) = scale {
            let scale = call.param(scale).clone();
            let scale = scale.try_broadcast_like::<_, Axes2<0, 2>>(&dims)?;
            result = self.record(&result, |x| x.try_mul(scale))?;
        }
        if let Some(shift) = shift {
            let shift = call.param(shift).clone();
            let shift = shift.try_broadcast_like::<_, Axes2<0, 2>>(&dims)?;
            result = self.record(&result, |x| x.try_add(shift))?;
        }
        result.try_reshape_like(&(call.count * shape.elements(),))
    }

    /// Written as a choice, so that "not a number" stays what it is: dfdx's own relu makes it zero.
    fn relu(&mut self, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let (input, _) = call.input();
        let cut = input.try_le(E::default())?;
        let length = call.count * call.output.elements();
        let zeros = self.constant(vec![E::default(); length], (length,))?;
        self.record(&zeros, |zeros| cut.try_choose(zeros, input.clone()))
    }

    /// Finds the greatest element of each window on the host and gathers it, so that all of its
    /// gradient goes to the first of equals: `max` of dfdx would give each of them the whole.
    fn max_pool(&mut self, window: Window, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let values = input.as_vec();
        let winners = call.outputs().map(|output| {
            let inside = window_sources(window, shape, output).filter_map(|source| match source {
                Source::At(position) => Some(position),
                Source::Padding => None,
            });
            let winner = inside.reduce(|best, next| {
                // As PyTorch does, "not a number" wins.
                let is_nan = values[next].partial_cmp(&values[next]).is_none();
                if values[next] > values[best] || is_nan { next } else { best }
            });
            Source::At(winner.expect("padding is smaller than the window"))
        });
        self.gather(&[input], winners)
    }

    fn average_pool(
        &mut self,
        window: Window,
        count_padding: bool,
        call: &Call<'_, E, D>,
    ) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let (windows, area) = (call.count * call.output.elements(), window.size * window.size);
        let members = |output| window_sources(window, shape, output);
        let unfolded = self.gather(&[input], call.outputs().flat_map(members))?;
        let shares = call.outputs().map(|output| {
            let inside = members(output).filter(|source| matches!(source, Source::At(_))).count();
            number::<E>(1.0 / if count_padding { area } else { inside } as f64)
        });
        let shares = self.constant(shares.collect(), (windows,))?;
        self.record(&unfolded, |x| {
            x.try_reshape_like(&(windows, area))?.try_sum::<(usize,), Axis<1>>()?.try_mul(shares)
        })
    }

    fn global_average_pool(&mut self, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let rows = call.count * shape.channels;
        self.record(input, |x| {
            x.try_reshape_like(&(rows, shape.pixels()))?.try_mean::<(usize,), Axis<1>>()
        })
    }

    fn linear(
        &mut self,
        weight: ParamId,
        bias: Option<ParamId>,
        call: &Call<'_, E, D>,
    ) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let (features, out) = (shape.elements(), call.output.channels);
        let weight = call.param(weight).clone().try_reshape_like(&(out, features))?;
        let transposed = self.record(&weight, |w| w.try_permute::<_, Axes2<1, 0>>())?;
        let mut result = self.record(input, |x| {
            x.try_reshape_like(&(call.count, features))?.try_matmul(transposed)
        })?;
        if let Some(bias) = bias {
            let bias = call.param(bias).clone();
            let bias = bias.try_broadcast_like::<_, Axis<0>>(&(call.count, out))?;
            result = self.record(&result, |x| x.try_add(bias))?;
        }
        result.try_reshape_like(&(call.count * out,))
    }

    /// Starts from zeros, so that an input may occur twice.
    fn add(&mut self, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let length = call.count * call.output.elements();
        let mut sum = self.constant(vec![E::default(); length], (length,))?;
        for &(input, _) in call.inputs {
            sum = self.record(&sum, |sum| sum.try_add(input.clone()))?;
        }
        Ok(sum)
    }

    fn concat(&mut self, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        // For each channel of the result: where its input starts, its shape, its channel there.
        let mut origins = Vec::with_capacity(call.output.channels);
        let mut start = 0;
        for &(_, shape) in call.inputs {
            origins.extend((0..shape.channels).map(|channel| (start, shape, channel)));
            start += call.count * shape.elements();
        }
        let sources = call.outputs().map(|[image, channel, row, column]| {
            let (start, shape, channel) = origins[channel];
            Source::At(start + position(shape, image, channel, row, column))
        });
        let inputs: Vec<_> = call.inputs.iter().map(|&(input, _)| input).collect();
        self.gather(&inputs, sources)
    }

    fn upsample(&mut self, factor: usize, call: &Call<'_, E, D>) -> Result<Flat<E, D>, D::Err> {
        let (input, shape) = call.input();
        let sources = call.outputs().map(|[image, channel, row, column]| {
            Source::At(position(shape, image, channel, row / factor, column / factor))
        });
        self.gather(&[input], sources)
    }
}

/// The elements of the window that gives element `output` of a pooling's result, row-major.
fn window_sources(
    window: Window,
    shape: Shape,
    output: [usize; 4],
) -> impl Iterator<Item = Source> {
    let Window { size, stride, padding } = window;
    let [image, channel, row, column] = output;
    positions([1, 1, size, size]).map(move |[_, _, tap_row, tap_column]| {
        let row = (row * stride + tap_row).checked_sub(padding);
        let column = (column * stride + tap_column).checked_sub(padding);
        source(shape, image, channel, row, column)
    })
}

/// A pixel of a channel of an image; padding where a row or column lies outside (`None`: before
/// the first).
fn source(
    shape: Shape,
    image: usize,
    channel: usize,
    row: Option<usize>,
    column: Option<usize>,
) -> Source {
    match (row, column) {
        (Some(row), Some(column)) if row < shape.height && column < shape.width => {
            Source::At(position(shape, image, channel, row, column))
        }
        _ => Source::Padding,
    }
}

/// Where an element of a value [count, `shape`] is in its flat tensor.
fn position(shape: Shape, image: usize, channel: usize, row: usize, column: usize) -> usize {
    ((image * shape.channels + channel) * shape.height + row) * shape.width + column
}

/// All positions of a tensor of four dimensions, row-major.
fn positions([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    (0..a).flat_map(move |a| {
        (0..b).flat_map(move |b| (0..c).flat_map(move |c| (0..d).map(move |d| [a, b, c, d])))
    })
}

fn number<E: Dtype>(value: f64) -> E {
    E::from_f64(value).expect("every float type of dfdx has this number")
}
