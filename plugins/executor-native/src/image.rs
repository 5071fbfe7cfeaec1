//! One image on one thread: the kernel calls of a stage, at the image's places.

use ghnas_core::{Images, Weights};

use crate::instructions::{Instructions, LANES};
use crate::kernels::gather::Summand;
use crate::kernels::{self, Source, Target};
use crate::plan::{Op, Place, Plan, Term, View};

/// What the threads of a stage share. Images touch places of their own, chunks sums of their own.
pub(crate) struct Shared<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) instructions: Instructions,
    pub(crate) weights: &'a Weights,
    pub(crate) images: Images<'a>,
    pub(crate) image_len: usize,
    pub(crate) channels: usize,
    pub(crate) arena: *mut f32,
    pub(crate) packed: *const f32,
    pub(crate) coefficients: *const f32,
}

// SAFETY: threads write to the arena only at the places of the images of their own chunk.
unsafe impl Sync for Shared<'_> {}

/// One image on one thread.
pub(crate) struct ImagePlace<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) scratch: *mut f32,
    pub(crate) accumulators: *mut f32,
    pub(crate) sums: *mut f64,
    pub(crate) image: usize,
    /// Images of this chunk that went before.
    pub(crate) seen: usize,
    pub(crate) summands: Vec<Summand>,
}

impl ImagePlace<'_> {
    /// # Safety
    /// The view is of this plan, and its place this thread's or image's own.
    unsafe fn at(&self, view: View) -> *mut f32 {
        // SAFETY: the plan's places lie in the arena and the scratch.
        unsafe {
            match self.shared.plan.places[view.buffer] {
                Place::Arena { at, image } => {
                    self.shared.arena.add(at + self.image * image + view.offset)
                }
                Place::Scratch { at } => self.scratch.add(at + view.offset),
            }
        }
    }

    /// # Safety
    /// As [`at`](Self::at).
    unsafe fn source(&self, view: View) -> Source {
        // SAFETY: the caller's promise.
        Source { at: unsafe { self.at(view) }, row: view.row, pixel: view.pixel }
    }

    /// # Safety
    /// As [`at`](Self::at).
    unsafe fn target(&self, view: View) -> Target {
        // SAFETY: the caller's promise.
        Target { at: unsafe { self.at(view) }, row: view.row, pixel: view.pixel }
    }

    /// # Safety
    /// As [`at`](Self::at), for all of the term's views.
    unsafe fn summand(&self, term: &Term) -> Summand {
        let Term { kind, floor, to, channels, aligned, accumulate, .. } = *term;
        // SAFETY: the caller's promise; coefficients were made for all norms.
        unsafe {
            let coefficient = |at: usize| self.shared.coefficients.add(at);
            let x = self.source(term.x);
            let mask = term.mask.map_or(x, |mask| self.source(mask.x));
            let mask_a = coefficient(term.mask.map_or(0, |mask| mask.a));
            let mask_b = coefficient(term.mask.map_or(0, |mask| mask.b));
            let (a, b) = (coefficient(term.a), coefficient(term.b));
            Summand {
                kind,
                x,
                mask,
                a,
                b,
                mask_a,
                mask_b,
                floor,
                to,
                channels,
                aligned,
                accumulate,
            }
        }
    }

    /// # Safety
    /// The op is of this plan, in a stage whose earlier stages have run.
    pub(crate) unsafe fn run(&mut self, op: &Op) {
        let Shared { plan, instructions, weights, images, packed, .. } = *self.shared;
        // SAFETY: the planner keeps views, taps and sums inside their buffers, and an op's target
        // apart from its sources.
        unsafe {
            match *op {
                Op::Images { to, extent } => {
                    let length = self.shared.image_len;
                    let image = &images.data[self.image * length..(self.image + 1) * length];
                    let (channels, to) = (self.shared.channels, self.target(to));
                    kernels::small::images(instructions, image, channels, to, extent);
                }
                Op::Fill { at, extent, inside, value } => {
                    kernels::small::fill(instructions, self.target(at), extent, inside, value);
                }
                Op::Gather { ref terms, to, extent } => {
                    let mut summands = std::mem::take(&mut self.summands);
                    summands.clear();
                    for term in terms {
                        summands.push(self.summand(term));
                    }
                    kernels::gather::gather(instructions, &summands, self.target(to), extent);
                    self.summands = summands;
                }
                Op::Depthwise { from, ref taps, weights, to, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    let weights = packed.add(weights);
                    kernels::depthwise::depthwise(instructions, from, taps, weights, to, extent);
                }
                Op::DepthwiseGradient { from, ref taps, upper, sum, extent } => {
                    let (from, upper) = (self.source(from), self.source(upper));
                    let sum = self.accumulators.add(sum);
                    kernels::depthwise::depthwise_gradient(
                        instructions,
                        from,
                        taps,
                        upper,
                        sum,
                        extent,
                    );
                }
                Op::Dense { from, ref taps, inputs, weights, to, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    let weights = packed.add(weights);
                    kernels::dense::dense(instructions, from, taps, inputs, weights, to, extent);
                }
                Op::DenseGradient { from, ref taps, inputs, upper, sum, extent } => {
                    let (from, upper) = (self.source(from), self.source(upper));
                    let sum = self.accumulators.add(sum);
                    kernels::dense::dense_gradient(
                        instructions,
                        from,
                        taps,
                        inputs,
                        upper,
                        sum,
                        extent,
                    );
                }
                Op::MaxPool { from, window, to, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    kernels::pool::max_pool(instructions, from, window, to, extent);
                }
                Op::MaxPoolGradient { from, window, upper, to, extent } => {
                    let (from, upper) = (self.source(from), self.source(upper));
                    let to = self.at(to);
                    kernels::pool::max_pool_gradient(instructions, from, window, upper, to, extent);
                }
                Op::SlidingMaxPoolGradient { from, upper, to, rows, extent } => {
                    let (from, upper) = (self.source(from), self.source(upper));
                    let (to, rows) = (self.target(to), self.at(rows));
                    kernels::pool::max_pool_gradient_sliding(
                        instructions,
                        from,
                        upper,
                        to,
                        rows,
                        extent,
                    );
                }
                Op::WindowSum { from, window, to, factors, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    let count = extent.height * extent.width;
                    let factors = factors.map_or(&[][..], |at| &plan.constants[at..at + count]);
                    kernels::pool::window_sum(instructions, from, window, to, factors, extent);
                }
                Op::Scale { at, factors, extent } => {
                    let count = extent.height * extent.width;
                    let factors = &plan.constants[factors..factors + count];
                    kernels::small::scale(instructions, self.target(at), factors, extent);
                }
                Op::GlobalMean { from, to, extent } => {
                    let (from, to) = (self.source(from), self.at(to));
                    kernels::small::global_mean(instructions, from, to, extent);
                }
                Op::Linear { from, length, weights: matrix, bias, to, outputs } => {
                    let bias = bias.map_or(&[][..], |id| weights.get(id));
                    let (from, to) = (self.at(from), self.at(to));
                    let to = std::slice::from_raw_parts_mut(to, outputs.next_multiple_of(LANES));
                    let (to, padding) = to.split_at_mut(outputs);
                    padding.fill(0.0);
                    let matrix = packed.add(matrix);
                    kernels::small::linear(instructions, from, length, matrix, bias, to);
                }
                Op::LinearGradient { from, length, upper, outputs, sum } => {
                    let upper = std::slice::from_raw_parts(self.at(upper), outputs);
                    let (from, sum) = (self.at(from), self.accumulators.add(sum));
                    kernels::small::linear_gradient(instructions, from, length, upper, sum);
                }
                Op::BiasGradient { upper, outputs, sum } => {
                    let upper = std::slice::from_raw_parts(self.at(upper), outputs);
                    let sum = self.accumulators.add(sum);
                    let sum = std::slice::from_raw_parts_mut(sum, outputs);
                    sum.iter_mut().zip(upper).for_each(|(sum, upper)| *sum += upper);
                }
                Op::LinearBack { upper, length, weights, to, outputs } => {
                    let upper = std::slice::from_raw_parts(self.at(upper), outputs);
                    let (weights, to) = (packed.add(weights), self.at(to));
                    kernels::small::linear_back(instructions, upper, length, weights, to);
                }
                Op::Moments { from, extent, sums } => {
                    let seen = self.seen * extent.height * extent.width;
                    let (from, sums) = (self.source(from), self.sums.add(sums));
                    kernels::statistics::moments(instructions, from, extent, seen, sums);
                }
                Op::GradientMoments { upper, norm, extent, sums } => {
                    let norm = &plan.norms[norm];
                    let (upper, x) = (self.source(upper), self.source(norm.x));
                    let normal = self.shared.coefficients.add(norm.normal());
                    let sums = self.sums.add(sums);
                    kernels::statistics::gradient_moments(
                        instructions,
                        upper,
                        x,
                        normal,
                        extent,
                        sums,
                    );
                }
            }
        }
    }
}
