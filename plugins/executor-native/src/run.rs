//! Runs a plan: stages one after another, in each the images in parallel chunks.
//!
//! Runs on the current rayon pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use ghnas_core::loss::cross_entropy_gradient;
use ghnas_core::{BATCH_NORM_EPSILON, Images, LossSum, Network, Weights};

use crate::instructions::{Instructions, LANES};
use crate::kernels::gather::Summand;
use crate::kernels::{self, Source, Target};
use crate::packing::unpack_sum;
use crate::plan::{Finish, Norm, Op, Place, Plan, Stage, Term, View};

/// Chunks that a batch is cut into, whatever the number of threads: sums are made in a chunk, then
/// over chunks in order, so that the results do not depend on the threads.
const CHUNKS: usize = 16;

/// Floats of a cache line.
const LINE: usize = 16;

/// A buffer that starts on a cache line and keeps its memory.
#[derive(Default)]
struct Floats(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

impl Floats {
    /// Makes room for `len` floats with any content.
    fn reserve(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; LINE]));
        }
    }

    fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.0.len() * LINE;
        // SAFETY: a line is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts_mut(self.start(), len) }
    }
}

/// Memory that calls share.
#[derive(Default)]
pub(crate) struct Workspace {
    arena: Floats,
    scratch: Vec<Floats>,
    packed: Floats,
    coefficients: Vec<f32>,
    /// By chunk.
    accumulators: Floats,
    sums: Vec<f64>,
    logits: Vec<f32>,
    logit_gradients: Vec<f32>,
}

/// What the threads of a stage share. Images touch places of their own, chunks sums of their own.
struct Shared<'a> {
    plan: &'a Plan,
    instructions: Instructions,
    weights: &'a Weights,
    images: Images<'a>,
    image_len: usize,
    channels: usize,
    arena: *mut f32,
    packed: *const f32,
    coefficients: *const f32,
}

// SAFETY: threads write to the arena only at the places of the images of their own chunk.
unsafe impl Sync for Shared<'_> {}

struct Pointer<T>(*mut T);

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
    unsafe fn part<'a>(self, at: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

/// One call of a plan.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) network: &'a Network,
    pub(crate) weights: &'a Weights,
    pub(crate) images: Images<'a>,
    pub(crate) instructions: Instructions,
}

impl Run<'_> {
    /// Runs the forward pass and writes the logits of every output, [outputs, count, classes].
    pub(crate) fn evaluate(&self, workspace: &mut Workspace, logits: &mut Vec<f32>) {
        self.prepare(workspace);
        self.forward(workspace);
        self.read_logits(workspace, logits);
    }

    /// Runs both passes; `gradients` holds zeros for every parameter.
    pub(crate) fn loss_and_gradients(
        &self,
        workspace: &mut Workspace,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> LossSum {
        self.prepare(workspace);
        self.forward(workspace);
        let mut logits = std::mem::take(&mut workspace.logits);
        self.read_logits(workspace, &mut logits);
        let loss = self.write_logit_gradients(workspace, &logits, labels);
        workspace.logits = logits;
        for stage in self.plan.forward_stages..self.plan.stages.len() {
            self.stage(stage, workspace, Some(gradients));
        }
        loss
    }

    fn forward(&self, workspace: &mut Workspace) {
        for stage in 0..self.plan.forward_stages {
            self.stage(stage, workspace, None);
        }
    }

    fn chunks(&self) -> usize {
        CHUNKS.min(self.images.count)
    }

    /// Images of a chunk.
    fn chunk(&self, chunk: usize) -> std::ops::Range<usize> {
        let (count, chunks) = (self.images.count, self.chunks());
        chunk * count / chunks..(chunk + 1) * count / chunks
    }

    fn prepare(&self, workspace: &mut Workspace) {
        let plan = self.plan;
        workspace.arena.reserve(plan.arena);
        workspace.scratch.resize_with(rayon::current_num_threads(), Floats::default);
        workspace.scratch.iter_mut().for_each(|scratch| scratch.reserve(plan.scratch));
        workspace.packed.reserve(plan.packed_len);
        let packed = workspace.packed.as_mut_slice();
        packed.fill(0.0);
        for entry in &plan.packed {
            entry.write(self.weights.get(entry.param), packed);
        }
        workspace.coefficients.clear();
        workspace.coefficients.resize(plan.widest, 1.0);
        workspace.coefficients.resize(plan.coefficients, 0.0);
        let accumulators = plan.stages.iter().map(|stage| stage.accumulators).max().unwrap_or(0);
        workspace.accumulators.reserve(accumulators * self.chunks());
        let sums = plan.stages.iter().map(|stage| stage.sums).max().unwrap_or(0);
        workspace.sums.resize(workspace.sums.len().max(sums * self.chunks()), 0.0);
    }

    /// Runs all images through a stage, then adds up what its chunks summed.
    fn stage(&self, index: usize, workspace: &mut Workspace, gradients: Option<&mut Weights>) {
        let stage = &self.plan.stages[index];
        let shared = Shared {
            plan: self.plan,
            instructions: self.instructions,
            weights: self.weights,
            images: self.images,
            image_len: self.network.input().elements(),
            channels: self.network.input().channels,
            arena: workspace.arena.start(),
            packed: workspace.packed.start(),
            coefficients: workspace.coefficients.as_ptr(),
        };
        let scratch = Pointer(workspace.scratch.as_mut_ptr());
        let accumulators = Pointer(workspace.accumulators.start());
        let sums = Pointer(workspace.sums.as_mut_ptr());
        let shared = &shared;
        let work = move |chunk: usize| {
            // SAFETY: one thread works on a chunk, and a thread on one chunk at a time; the
            // buffers were made long enough for all chunks and threads.
            let (scratch, accumulators, sums) = unsafe {
                let thread = rayon::current_thread_index().unwrap_or(0);
                (
                    scratch.part(thread, 1)[0].start(),
                    accumulators.part(chunk * stage.accumulators, stage.accumulators),
                    sums.part(chunk * stage.sums, stage.sums),
                )
            };
            accumulators.fill(0.0);
            sums.fill(0.0);
            let mut place = ImagePlace {
                shared,
                scratch,
                accumulators: accumulators.as_mut_ptr(),
                sums: sums.as_mut_ptr(),
                image: 0,
                seen: 0,
                summands: Vec::new(),
            };
            for image in self.chunk(chunk) {
                place.image = image;
                for op in &stage.ops {
                    // SAFETY: the plan keeps every op inside its buffers, and the place is this
                    // thread's and image's own.
                    unsafe { place.run(op) };
                }
                place.seen += 1;
            }
        };
        let chunks = self.chunks();
        let next = AtomicUsize::new(0);
        let claim = || {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    done if done >= chunks => return,
                    // Every other stage goes backwards: it starts with what the last one left in
                    // the cache.
                    claimed if index % 2 == 0 => work(claimed),
                    claimed => work(chunks - 1 - claimed),
                }
            }
        };
        rayon::scope(|scope| {
            for _ in 1..rayon::current_num_threads().min(chunks) {
                scope.spawn(|_| claim());
            }
            claim();
        });
        self.finish(stage, workspace, gradients);
    }

    fn finish(
        &self,
        stage: &Stage,
        workspace: &mut Workspace,
        mut gradients: Option<&mut Weights>,
    ) {
        for &finish in &stage.finish {
            match finish {
                Finish::Forward { norm, sums } => {
                    self.finish_forward(&self.plan.norms[norm], sums, stage, workspace);
                }
                Finish::Backward { norm, sums } => {
                    let norm = &self.plan.norms[norm];
                    let gradients = gradients.as_deref_mut();
                    self.finish_backward(norm, sums, stage, workspace, gradients);
                }
                Finish::Parameter { param, layout, sum } => {
                    let Some(gradients) = gradients.as_deref_mut() else { continue };
                    let all = &*workspace.accumulators.as_mut_slice();
                    let parts = (0..self.chunks()).map(|chunk| {
                        let at = chunk * stage.accumulators + sum;
                        &all[at..at + layout.len()]
                    });
                    unpack_sum(layout, parts, gradients.get_mut(param));
                }
            }
        }
    }

    /// The coefficients of a norm's value, from the moments of the chunks.
    fn finish_forward(&self, norm: &Norm, sums: usize, stage: &Stage, workspace: &mut Workspace) {
        let width = norm.padded();
        let pixels = norm.extent.height * norm.extent.width;
        for channel in 0..norm.channels {
            let (mut mean, mut square, mut seen) = (0.0, 0.0, 0.0);
            for chunk in 0..self.chunks() {
                let added = (self.chunk(chunk).len() * pixels) as f64;
                let at = chunk * stage.sums + sums + channel;
                let apart = workspace.sums[at] - mean;
                let total = seen + added;
                mean += apart * (added / total);
                square += workspace.sums[at + width] + apart * apart * (seen * added / total);
                seen = total;
            }
            let inverse = 1.0 / (square / seen + f64::from(BATCH_NORM_EPSILON)).sqrt();
            let scale = norm.scale.map_or(1.0, |id| f64::from(self.weights.get(id)[channel]));
            let shift = norm.shift.map_or(0.0, |id| f64::from(self.weights.get(id)[channel]));
            let mut set = |index: usize, value: f64| {
                let at = norm.coefficients + index * width + channel;
                workspace.coefficients[at] = value as f32;
            };
            set(0, scale * inverse);
            set(1, shift - mean * scale * inverse);
            set(5, mean);
            set(6, inverse);
        }
    }

    /// The coefficients of a norm's gradient: with g the gradient of its value and n the
    /// normalised value, scale * inverse * (g - mean(g) - n * mean(g * n)).
    fn finish_backward(
        &self,
        norm: &Norm,
        sums: usize,
        stage: &Stage,
        workspace: &mut Workspace,
        mut gradients: Option<&mut Weights>,
    ) {
        let width = norm.padded();
        let count = (self.images.count * norm.extent.height * norm.extent.width) as f64;
        for channel in 0..norm.channels {
            let (mut sum, mut product) = (0.0, 0.0);
            for chunk in 0..self.chunks() {
                let at = chunk * stage.sums + sums + channel;
                sum += workspace.sums[at];
                product += workspace.sums[at + width];
            }
            let coefficient = |index: usize| {
                f64::from(workspace.coefficients[norm.coefficients + index * width + channel])
            };
            let (mean, inverse) = (coefficient(5), coefficient(6));
            let factor = norm.scale.map_or(1.0, |id| f64::from(self.weights.get(id)[channel]));
            let factor = factor * inverse;
            let slope = factor * inverse * product / count;
            let mut set = |index: usize, value: f64| {
                let at = norm.coefficients + index * width + channel;
                workspace.coefficients[at] = value as f32;
            };
            set(2, factor);
            set(3, -slope);
            set(4, slope * mean - factor * sum / count);
            if let Some(gradients) = gradients.as_deref_mut() {
                for (id, value) in [(norm.scale, product), (norm.shift, sum)] {
                    if let Some(id) = id {
                        gradients.get_mut(id)[channel] = value as f32;
                    }
                }
            }
        }
    }

    fn read_logits(&self, workspace: &mut Workspace, logits: &mut Vec<f32>) {
        logits.clear();
        let classes = self.network.classes();
        let arena = workspace.arena.as_mut_slice();
        for view in &self.plan.logits {
            for image in 0..self.images.count {
                let at = place_of(self.plan, *view, image);
                logits.extend_from_slice(&arena[at..at + classes]);
            }
        }
    }

    fn write_logit_gradients(
        &self,
        workspace: &mut Workspace,
        logits: &[f32],
        labels: &[u16],
    ) -> LossSum {
        let classes = self.network.classes();
        let length = self.images.count * classes;
        let mut gradient = std::mem::take(&mut workspace.logit_gradients);
        gradient.resize(length, 0.0);
        let mut loss = LossSum::default();
        let outputs = self.network.outputs().iter().zip(&self.plan.logit_gradients);
        for ((output, &view), logits) in outputs.zip(logits.chunks_exact(length)) {
            let weight = output.loss_weight;
            loss = cross_entropy_gradient(logits, labels, classes, weight, &mut gradient);
            let arena = workspace.arena.as_mut_slice();
            for (image, gradient) in gradient.chunks_exact(classes).enumerate() {
                let at = place_of(self.plan, view, image);
                let row = &mut arena[at..at + classes.next_multiple_of(LANES)];
                row.fill(0.0);
                row[..classes].copy_from_slice(gradient);
            }
        }
        workspace.logit_gradients = gradient;
        loss
    }
}

/// Where a view of the arena begins.
fn place_of(plan: &Plan, view: View, image: usize) -> usize {
    match plan.places[view.buffer] {
        Place::Arena { at, image: step } => at + image * step + view.offset,
        Place::Scratch { .. } => unreachable!("shared buffers are in the arena"),
    }
}

/// One image on one thread.
struct ImagePlace<'a> {
    shared: &'a Shared<'a>,
    scratch: *mut f32,
    accumulators: *mut f32,
    sums: *mut f64,
    image: usize,
    /// Images of this chunk that went before.
    seen: usize,
    summands: Vec<Summand>,
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
    unsafe fn run(&mut self, op: &Op) {
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
                Op::MaxPool { from, ref taps, to, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    kernels::pool::max_pool(instructions, from, taps, to, extent);
                }
                Op::MaxPoolGradient { from, ref taps, upper, to, extent } => {
                    let (from, upper) = (self.source(from), self.source(upper));
                    let to = self.at(to);
                    kernels::pool::max_pool_gradient(instructions, from, taps, upper, to, extent);
                }
                Op::WindowSum { from, ref taps, to, extent } => {
                    let (from, to) = (self.source(from), self.target(to));
                    kernels::pool::window_sum(instructions, from, taps, to, extent);
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
