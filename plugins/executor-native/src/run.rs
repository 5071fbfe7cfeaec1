//! Runs a plan: stages one after another, in each the images in parallel chunks.
//!
//! Runs on the current rayon pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use ghnas_core::loss::cross_entropy_gradient;
use ghnas_core::{BATCH_NORM_EPSILON, ExecutorError, Images, LossSum, Network, Weights};
use rayon::prelude::*;

use crate::floats::Floats;
use crate::image::{ImagePlace, Shared};
use crate::instructions::{Instructions, LANES};
use crate::packing::{Layout, unpack_sum};
use crate::plan::{Finish, Norm, Place, Plan, Stage, View};
use crate::workspace::{Pointer, Workspace};

/// Chunks that a batch is cut into, whatever the number of threads: sums are made in a chunk, then
/// over chunks in order, so that the results do not depend on the threads.
const CHUNKS: usize = 16;
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
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub(crate) fn evaluate(
        &self,
        workspace: &mut Workspace,
        logits: &mut Vec<f32>,
    ) -> Result<(), ExecutorError> {
        self.prepare(workspace)?;
        self.forward(workspace);
        self.read_logits(workspace, logits);
        Ok(())
    }

    /// Runs both passes; `gradients` holds zeros for every parameter.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub(crate) fn loss_and_gradients(
        &self,
        workspace: &mut Workspace,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> Result<LossSum, ExecutorError> {
        self.prepare(workspace)?;
        self.forward(workspace);
        let mut logits = std::mem::take(&mut workspace.logits);
        self.read_logits(workspace, &mut logits);
        let loss = self.write_logit_gradients(workspace, &logits, labels);
        workspace.logits = logits;
        for stage in self.plan.forward_stages..self.plan.stages.len() {
            self.stage(stage, workspace, Some(gradients));
        }
        Ok(loss)
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

    fn prepare(&self, workspace: &mut Workspace) -> Result<(), ExecutorError> {
        let plan = self.plan;
        workspace.arena.reserve(plan.arena)?;
        workspace.scratch.resize_with(rayon::current_num_threads(), Floats::default);
        for scratch in &mut workspace.scratch {
            scratch.reserve(plan.scratch)?;
        }
        workspace.packed.reserve(plan.packed_len)?;
        let packed = Pointer(workspace.packed.start());
        plan.packed.par_iter().for_each(|entry| {
            // SAFETY: parameters have places of their own, which the buffer was made for.
            let [to, transposed] = entry.extents().map(|(at, len)| unsafe { packed.part(at, len) });
            entry.write(self.weights.get(entry.param), to, transposed);
        });
        workspace.coefficients.clear();
        workspace.coefficients.resize(plan.widest, 1.0);
        workspace.coefficients.resize(plan.coefficients, 0.0);
        let accumulators = plan.stages.iter().map(|stage| stage.accumulators).max().unwrap_or(0);
        workspace.accumulators.reserve(accumulators * self.chunks())?;
        let sums = plan.stages.iter().map(|stage| stage.sums).max().unwrap_or(0);
        workspace.sums.resize(workspace.sums.len().max(sums * self.chunks()), 0.0);
        Ok(())
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
                    claimed if index.is_multiple_of(2) => work(claimed),
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
        if let Some(gradients) = gradients.as_deref_mut() {
            self.finish_parameters(stage, workspace, gradients);
        }
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
                Finish::Parameter { .. } => {}
            }
        }
    }

    /// The gradients of parameters, from the sums of the chunks: in the order of chunks, each
    /// parameter by one thread.
    fn finish_parameters(&self, stage: &Stage, workspace: &mut Workspace, gradients: &mut Weights) {
        let extents = |param| gradients.extent(param);
        let parameters: Vec<(Layout, usize, (usize, usize))> = stage
            .finish
            .iter()
            .filter_map(|finish| match *finish {
                Finish::Parameter { param, layout, sum } => Some((layout, sum, extents(param))),
                _ => None,
            })
            .collect();
        let sums = Pointer(workspace.accumulators.start());
        let gradients = Pointer(gradients.as_mut_slice().as_mut_ptr());
        parameters.par_iter().for_each(|&(layout, sum, (at, len))| {
            // SAFETY: parameters have sums and gradients of their own, in buffers that were made
            // for all of them.
            unsafe {
                let part = |chunk| sums.part(chunk * stage.accumulators + sum, layout.len());
                let others = (1..self.chunks()).map(|chunk| &*part(chunk));
                unpack_sum(layout, part(0), others, gradients.part(at, len));
            }
        });
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
