//! What runs, image by image: a network compiled to stages of kernel calls over buffers.
//!
//! Batch norm is the only primitive that couples images. A *stage* is everything that depends only
//! on batch norms of earlier stages; within it each image is computed by itself, so that its
//! temporaries stay in the cache. The backward pass has stages in the same way: a batch norm's
//! gradient needs two sums over the batch.
//!
//! A value is a sum of [`Term`]s over buffers. Batch norms, rectifications, sums and
//! concatenations only change terms; what convolves or pools gathers them. Gradients are sums of
//! terms as well: a value's gradient is gathered from those who read it.

mod backward;
mod forward;
mod gather;
mod memory;
mod op;

use std::collections::HashMap;

use ghnas_core::{Network, ParamId, Shape};

use crate::instructions::LANES;
use crate::kernels::Extent;
use crate::kernels::gather::Kind;
use crate::kernels::pool::Square;
use crate::packing::{Layout, Packed};

pub(crate) use memory::Place;
pub(crate) use op::Op;

/// Pixels in a buffer: the first one, and the steps between rows and columns, in floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    pub(crate) buffer: usize,
    pub(crate) offset: usize,
    pub(crate) row: usize,
    pub(crate) pixel: usize,
}

impl View {
    /// Every `stride`th pixel of every `stride`th row.
    fn strided(self, stride: usize) -> Self {
        Self { row: self.row * stride, pixel: self.pixel * stride, ..self }
    }

    /// A square of neighbouring pixels.
    fn square(self, size: usize) -> Square {
        Square { size, row: self.row, pixel: self.pixel }
    }

    /// From another pixel on.
    fn at_pixel(self, y: usize, x: usize) -> Self {
        self.moved(y * self.row + x * self.pixel)
    }

    /// From a pixel above and to the left on.
    fn back_by(self, rows: usize, columns: usize) -> Self {
        Self { offset: self.offset - rows * self.row - columns * self.pixel, ..self }
    }

    fn moved(self, floats: usize) -> Self {
        Self { offset: self.offset + floats, ..self }
    }
}

/// The values that decide what a gradient passes: it does where a * x + b is positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mask {
    pub(crate) x: View,
    pub(crate) a: usize,
    pub(crate) b: usize,
    origin: Option<usize>,
}

/// One summand of a value or a gradient; see [`Kind`] for what is made of its source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    pub(crate) kind: Kind,
    pub(crate) x: View,
    pub(crate) mask: Option<Mask>,
    /// Positions of the coefficients.
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) floor: f32,
    /// The channels of the value that it covers.
    pub(crate) to: usize,
    pub(crate) channels: usize,
    pub(crate) aligned: bool,
    pub(crate) accumulate: bool,
    /// Whether it covers all channels of its source, so that padded channels are zeros.
    whole: bool,
    /// The first stage in which it can be read.
    stage: usize,
    /// The value in `x`, where it may have to be computed again.
    origin: Option<usize>,
}

/// A batch norm. Its coefficients start at `coefficients`, each [channels, padded]: a and b of the
/// value a * x + b; a, b and c of the gradient a * upper + b * x + c; mean and inverse deviation.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) x: View,
    pub(crate) channels: usize,
    pub(crate) extent: Extent,
    pub(crate) scale: Option<ParamId>,
    pub(crate) shift: Option<ParamId>,
    pub(crate) coefficients: usize,
}

impl Norm {
    /// Coefficients of a batch norm.
    pub(crate) const COEFFICIENTS: usize = 7;

    pub(crate) fn padded(&self) -> usize {
        self.extent.blocks * LANES
    }

    /// Where the `index`th of its coefficients start.
    fn coefficient(&self, index: usize) -> usize {
        self.coefficients + index * self.padded()
    }

    /// Where mean and inverse deviation start.
    pub(crate) fn normal(&self) -> usize {
        self.coefficient(5)
    }
}

/// What is done with sums over the batch when a stage is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Finish {
    /// The value's coefficients of a norm.
    Forward { norm: usize, sums: usize },
    /// The gradient's coefficients of a norm, and its parameters' gradients.
    Backward { norm: usize, sums: usize },
    /// A parameter's gradient, summed at `sum` in the layout.
    Parameter { param: ParamId, layout: Layout, sum: usize },
}

/// Kernel calls for each image, and what follows when all images are through.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) ops: Vec<Op>,
    pub(crate) finish: Vec<Finish>,
    /// Floats of parameter gradients that are summed in it.
    pub(crate) accumulators: usize,
    /// Doubles of norm statistics that are summed in it.
    pub(crate) sums: usize,
}

/// A compiled network.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stages: Vec<Stage>,
    /// Where the backward pass begins; all stages where there is none.
    pub(crate) forward_stages: usize,
    pub(crate) places: Vec<Place>,
    pub(crate) norms: Vec<Norm>,
    pub(crate) packed: Vec<Packed>,
    pub(crate) constants: Vec<f32>,
    /// Logits of every output, and where their gradients are read.
    pub(crate) logits: Vec<View>,
    pub(crate) logit_gradients: Vec<View>,
    /// Channels of the widest value: as many ones, then as many zeros begin the coefficients.
    pub(crate) widest: usize,
    pub(crate) coefficients: usize,
    pub(crate) packed_len: usize,
    pub(crate) arena: usize,
    pub(crate) scratch: usize,
}

impl Plan {
    /// Compiles `network` for batches of `count` images, with its backward pass where `train`.
    pub(crate) fn new(network: &Network, count: usize, train: bool) -> Self {
        let mut planner = Planner::new(network);
        planner.forward();
        let forward_stages = planner.stages.len();
        if train {
            planner.backward();
        }
        let memory = memory::place(&planner.buffers, planner.stages.len(), count);
        Self {
            stages: planner.stages,
            forward_stages,
            places: memory.places,
            norms: planner.norms,
            packed: planner.packed,
            constants: planner.constants,
            logits: planner.logits,
            logit_gradients: planner.logit_gradients,
            widest: planner.widest,
            coefficients: planner.coefficients,
            packed_len: planner.packed_len,
            arena: memory.arena,
            scratch: memory.scratch,
        }
    }
}

/// Channels, padded to whole vectors.
pub(crate) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

fn extent_of(shape: Shape) -> Extent {
    let blocks = padded(shape.channels) / LANES;
    Extent { height: shape.height, width: shape.width, blocks }
}

/// A value in a buffer: its first pixel, and what stands around it.
#[derive(Debug, Clone, Copy)]
struct Framed {
    inside: View,
    padding: [usize; 2],
    fill: f32,
}

/// A plan in the making.
struct Planner<'a> {
    network: &'a Network,
    /// Per value: whether an output depends on it, and the steps that read it and are live.
    live: Vec<bool>,
    readers: Vec<Vec<usize>>,
    /// Per value: its terms, and the buffer that a step first wrote it to.
    forms: Vec<Vec<Term>>,
    homes: Vec<Option<View>>,
    stages: Vec<Stage>,
    buffers: Vec<memory::Buffer>,
    norms: Vec<Norm>,
    norm_of: HashMap<usize, usize>,
    packed: Vec<Packed>,
    packed_of: HashMap<ParamId, usize>,
    packed_len: usize,
    constants: Vec<f32>,
    logits: Vec<View>,
    logit_gradients: Vec<View>,
    widest: usize,
    coefficients: usize,
    /// Values that a stage has computed again, and padded values that it has gathered.
    available: HashMap<(usize, usize), View>,
    gathered: HashMap<(usize, usize), Vec<Framed>>,
    /// The first backward stage.
    backward_from: usize,
}

impl<'a> Planner<'a> {
    fn new(network: &'a Network) -> Self {
        let values = network.values();
        let mut live = vec![false; values];
        for output in network.outputs() {
            live[output.value.index()] = true;
        }
        let mut readers = vec![Vec::new(); values];
        for (step, instruction) in network.steps().iter().enumerate().rev() {
            if live[step + 1] {
                for input in &instruction.inputs {
                    live[input.index()] = true;
                    readers[input.index()].push(step);
                }
            }
        }
        let channels = |value| padded(network.shape(ghnas_core::ValueId(value as u32)).channels);
        let widest = (0..values).map(channels).max().unwrap_or(LANES);
        Self {
            network,
            live,
            readers,
            forms: vec![Vec::new(); values],
            homes: vec![None; values],
            stages: vec![Stage::default()],
            buffers: Vec::new(),
            norms: Vec::new(),
            norm_of: HashMap::new(),
            packed: Vec::new(),
            packed_of: HashMap::new(),
            packed_len: 0,
            constants: Vec::new(),
            logits: Vec::new(),
            logit_gradients: Vec::new(),
            widest,
            coefficients: 2 * widest,
            available: HashMap::new(),
            gathered: HashMap::new(),
            backward_from: usize::MAX,
        }
    }

    fn shape(&self, value: usize) -> Shape {
        self.network.shape(ghnas_core::ValueId(value as u32))
    }

    /// The stage, which is added where it does not exist yet.
    fn stage(&mut self, stage: usize) -> &mut Stage {
        if self.stages.len() <= stage {
            self.stages.resize_with(stage + 1, Stage::default);
        }
        &mut self.stages[stage]
    }

    fn push(&mut self, stage: usize, op: Op) {
        let at = self.stage(stage).ops.len();
        op.buffers(&self.norms, |buffer| self.buffers[buffer].touch(stage, at));
        self.stages[stage].ops.push(op);
    }

    /// A buffer of `height` x `width` pixels of padded channels.
    fn buffer(&mut self, height: usize, width: usize, channels: usize) -> View {
        let pixel = padded(channels);
        self.buffers.push(memory::Buffer::new(height * width * pixel));
        View { buffer: self.buffers.len() - 1, offset: 0, row: width * pixel, pixel }
    }

    fn buffer_of(&mut self, shape: Shape) -> View {
        self.buffer(shape.height, shape.width, shape.channels)
    }

    /// The term of a buffer's values as they are.
    fn plain(&self, x: View, channels: usize, stage: usize) -> Term {
        Term {
            kind: Kind::Value,
            floor: f32::NEG_INFINITY,
            x,
            mask: None,
            a: 0,
            b: self.widest,
            to: 0,
            channels,
            aligned: true,
            accumulate: false,
            whole: true,
            stage,
            origin: None,
        }
    }

    /// Where a parameter is packed for the kernels.
    fn pack(&mut self, param: ParamId, layout: Layout, transposed: bool) -> usize {
        let index = *self.packed_of.entry(param).or_insert_with(|| {
            self.packed.push(Packed { param, layout, at: self.packed_len, transposed: None });
            self.packed_len += layout.len();
            self.packed.len() - 1
        });
        if !transposed {
            return self.packed[index].at;
        }
        *self.packed[index].transposed.get_or_insert_with(|| {
            let at = self.packed_len;
            self.packed_len += layout.len();
            at
        })
    }

    /// Room in a stage for the sums of a parameter's gradient.
    fn gradient_sum(&mut self, stage: usize, param: ParamId, layout: Layout) -> usize {
        let stage = self.stage(stage);
        let sum = stage.accumulators;
        stage.accumulators += layout.len();
        stage.finish.push(Finish::Parameter { param, layout, sum });
        sum
    }
}

/// The first stage in which all of `terms` can be read.
fn stage_of(terms: &[Term]) -> usize {
    terms.iter().map(|term| term.stage).max().unwrap_or(0)
}
