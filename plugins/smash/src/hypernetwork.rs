//! The hypernetwork: densely connected 3x3 convolutions over a memory-bank tensor, and a 1x1
//! convolution that makes the weights of each location (Brock et al., 2018; `hyperconv` of the
//! authors' code).
//!
//! Every layer reads the tensor and all layers before it, without biases. The tensor is binary and
//! mostly zeros, so its part in each layer is a sum of vectors, one for every feature that is set:
//! the vectors of one feature for all layers lie in one tensor of the bank, and a feature that was
//! never seen is drawn when it comes. A generated kernel is divided by its Euclidean norm, as one
//! vector, which is the authors' simplified weight norm (`wn2d`), and multiplied by
//! sqrt(2 outputs), so that its elements are of He's variance 2 / inputs. The authors divide the
//! hypernetwork's own kernels by their norms too; here these grow with the features that were
//! seen, so that a norm would depend on what was seen before, and they are left as they are.

use ghnas_bank::{Bank, Init, Version};
use ghnas_plugin_sdk::prelude::*;

use crate::linear::{add, add_outer, add_product, add_product_transposed};
use crate::memory::Memory;
use crate::settings::SmashSettings;

/// What the names of the hypernetwork's tensors start with.
pub(crate) const NAME: &str = "hypernetwork.";

/// Rows and columns of a layer's kernel.
const TAPS: usize = 9;

/// Slope of the rectification below zero, as the authors have it.
const LEAK: f32 = 0.02;

/// Features that are set at a typical location, which the initial values are scaled for.
const FEATURES: usize = 10;

/// The hypernetwork's tensors that all locations share, as they were when it ran.
pub(crate) struct Hypernetwork {
    /// Locations make `group` x `group` weights.
    group: usize,
    growth: usize,
    /// By layer, from the second on: [taps, growth * layers before, growth].
    layers: Vec<Vec<f32>>,
    /// [growth * layers, group * group].
    output: Vec<f32>,
}

/// What it computed for one kernel.
pub(crate) struct Run {
    memory: Memory,
    /// [locations, growth * layers], rectified.
    hidden: Vec<f32>,
    /// The kernel divided by its norm, [out, in].
    direction: Vec<f32>,
    norm: f32,
}

impl Hypernetwork {
    /// The tensors of `bank` as they are.
    pub(crate) fn read(
        settings: &SmashSettings,
        version: Version,
        bank: &mut Bank,
    ) -> Result<Self, GeneratorError> {
        let SmashSettings { group, growth, layers: depth, .. } = *settings;
        let mut read = |name: String, shape: &[usize], inputs: usize| {
            let init = Init { role: ParamRole::Kernel, fan_in: inputs };
            bank.values(version, &name, shape, init).map(<[f32]>::to_vec)
        };
        let layers = (1..depth).map(|before| {
            let shape = [TAPS, growth * before, growth];
            read(layer_name(before), &shape, TAPS * growth * before)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let output = read(output_name(), &[growth * depth, group * group], growth * depth)?;
        Ok(Self { group, growth, layers, output })
    }

    fn depth(&self) -> usize {
        self.layers.len() + 1
    }

    /// Values of all layers of one location.
    fn width(&self) -> usize {
        self.growth * self.depth()
    }

    /// Length of a feature's tensor: [layers, taps, growth], then [group * group].
    fn feature_len(&self) -> usize {
        TAPS * self.width() + self.group * self.group
    }

    /// Where the vector of a layer and tap begins in a feature's tensor.
    fn tap(&self, layer: usize, tap: usize) -> usize {
        (layer * TAPS + tap) * self.growth
    }

    /// Makes the kernel of `memory` and writes it to `kernel`, [out, in].
    pub(crate) fn run(
        &self,
        memory: Memory,
        version: Version,
        bank: &mut Bank,
        kernel: &mut [f32],
    ) -> Result<Run, GeneratorError> {
        let (growth, width, weights) = (self.growth, self.width(), self.group * self.group);
        let tables = self.tables(&memory, version, bank)?;
        let mut hidden = vec![0.0; memory.len() * width];
        let mut sum = vec![0.0; growth];
        for layer in 0..self.depth() {
            let before = layer * growth;
            for location in 0..memory.len() {
                sum.fill(0.0);
                for (tap, (row, column)) in neighbours(&memory, location) {
                    let start = self.tap(layer, tap);
                    for set in memory.set_at(row, column) {
                        add(&tables[set][start..start + growth], &mut sum);
                    }
                    if layer > 0 {
                        let neighbour = row * memory.columns.len() + column;
                        let inputs = &hidden[neighbour * width..][..before];
                        let taps = &self.layers[layer - 1][tap * before * growth..];
                        add_product(inputs, &taps[..before * growth], &mut sum);
                    }
                }
                for (value, &sum) in hidden[location * width + before..].iter_mut().zip(&sum) {
                    *value = if sum > 0.0 { sum } else { LEAK * sum };
                }
            }
        }
        let mut made = vec![0.0; memory.len() * weights];
        for (location, made) in made.chunks_exact_mut(weights).enumerate() {
            let (row, column) = place(&memory, location);
            for set in memory.set_at(row, column) {
                add(&tables[set][TAPS * width..], made);
            }
            add_product(&hidden[location * width..][..width], &self.output, made);
        }
        let mut direction: Vec<f32> = memory
            .weights(self.group)
            .map(|(location, at)| made[location * weights + at])
            .collect();
        // A kernel of zeros has no direction; it stays as it is.
        let norm = direction.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        direction.iter_mut().for_each(|value| *value /= norm);
        let scale = scale(&memory);
        for (value, direction) in kernel.iter_mut().zip(&direction) {
            *value = scale * direction;
        }
        Ok(Run { memory, hidden, direction, norm })
    }

    /// Sums of the tensors of the features that are set everywhere, in each row, in each column.
    fn tables(
        &self,
        memory: &Memory,
        version: Version,
        bank: &mut Bank,
    ) -> Result<Vec<Vec<f32>>, GeneratorError> {
        let length = self.feature_len();
        let init = Init { role: ParamRole::Kernel, fan_in: TAPS * FEATURES };
        let table = |names: &Vec<String>| {
            let mut sum = vec![0.0; length];
            for name in names {
                add(bank.values(version, &feature_name(name), &[length], init)?, &mut sum);
            }
            Ok(sum)
        };
        memory.features.iter().map(table).collect()
    }

    /// Adds the gradient of the kernel of `run`, [out, in], to `gradient` and to the features'.
    pub(crate) fn add_gradient(
        &self,
        run: &Run,
        kernel: &[f32],
        gradient: &mut HypernetworkGradient,
        bank: &mut Bank,
    ) {
        let Run { memory, hidden, direction, norm } = run;
        let (growth, width, weights) = (self.growth, self.width(), self.group * self.group);
        // Of w = scale * r / |r|: the part along r does nothing.
        let along: f32 = kernel.iter().zip(direction).map(|(a, b)| a * b).sum();
        let factor = scale(memory) / norm;
        let mut made = vec![0.0; memory.len() * weights];
        for ((location, at), (kernel, direction)) in
            memory.weights(self.group).zip(kernel.iter().zip(direction))
        {
            made[location * weights + at] = factor * (kernel - along * direction);
        }
        let mut tables = vec![vec![0.0; self.feature_len()]; memory.features.len()];
        let mut of_hidden = vec![0.0; hidden.len()];
        for (location, made) in made.chunks_exact(weights).enumerate() {
            let (row, column) = place(memory, location);
            for set in memory.set_at(row, column) {
                add(made, &mut tables[set][TAPS * width..]);
            }
            let inputs = location * width..(location + 1) * width;
            add_outer(&hidden[inputs.clone()], made, &mut gradient.output);
            add_product_transposed(made, &self.output, &mut of_hidden[inputs]);
        }
        for layer in (0..self.depth()).rev() {
            let before = layer * growth;
            for location in 0..memory.len() {
                let own = location * width + before..location * width + before + growth;
                let slopes = hidden[own.clone()].iter().map(|&x| if x > 0.0 { 1.0 } else { LEAK });
                let sum: Vec<f32> = of_hidden[own].iter().zip(slopes).map(|(x, s)| x * s).collect();
                for (tap, (row, column)) in neighbours(memory, location) {
                    let start = self.tap(layer, tap);
                    for set in memory.set_at(row, column) {
                        add(&sum, &mut tables[set][start..start + growth]);
                    }
                    if layer > 0 {
                        let neighbour = row * memory.columns.len() + column;
                        let inputs = neighbour * width..neighbour * width + before;
                        let taps = tap * before * growth..(tap + 1) * before * growth;
                        let layers = &mut gradient.layers[layer - 1][taps.clone()];
                        add_outer(&hidden[inputs.clone()], &sum, layers);
                        let kernel = &self.layers[layer - 1][taps];
                        add_product_transposed(&sum, kernel, &mut of_hidden[inputs]);
                    }
                }
            }
        }
        for (names, table) in memory.features.iter().zip(&tables) {
            for name in names {
                add(table, bank.gradient_mut(&feature_name(name)).expect("drawn when it ran"));
            }
        }
    }

    /// Zeros for the tensors that all locations share.
    pub(crate) fn zero_gradient(&self) -> HypernetworkGradient {
        let layers = self.layers.iter().map(|layer| vec![0.0; layer.len()]).collect();
        HypernetworkGradient { layers, output: vec![0.0; self.output.len()] }
    }
}

/// Gradients of the tensors that all locations share.
pub(crate) struct HypernetworkGradient {
    layers: Vec<Vec<f32>>,
    output: Vec<f32>,
}

impl HypernetworkGradient {
    /// Adds them to the bank's.
    pub(crate) fn add_to(&self, bank: &mut Bank) {
        let names = (1..).map(layer_name);
        let layers = names.zip(&self.layers);
        for (name, gradient) in layers.chain([(output_name(), &self.output)]) {
            add(gradient, bank.gradient_mut(&name).expect("read when it ran"));
        }
    }
}

impl Run {
    /// The kernel that was made.
    pub(crate) fn param(&self) -> ParamId {
        self.memory.param
    }
}

fn layer_name(layer: usize) -> String {
    format!("{NAME}layer {layer}")
}

fn output_name() -> String {
    format!("{NAME}output")
}

fn feature_name(feature: &str) -> String {
    format!("{NAME}feature {feature}")
}

/// The norm of a kernel whose elements have variance 2 / inputs.
fn scale(memory: &Memory) -> f32 {
    let outputs: usize = memory.rows.iter().map(|row| row.channels).sum();
    (2.0 * outputs as f32).sqrt()
}

/// Row and column of a location.
fn place(memory: &Memory, location: usize) -> (usize, usize) {
    (location / memory.columns.len(), location % memory.columns.len())
}

/// The locations under a 3x3 kernel at `location`, each with its tap; none beyond the border.
fn neighbours(
    memory: &Memory,
    location: usize,
) -> impl Iterator<Item = (usize, (usize, usize))> + use<> {
    let (row, column) = place(memory, location);
    let (rows, columns) = (memory.rows.len(), memory.columns.len());
    (0..TAPS).filter_map(move |tap| {
        let row = (row + tap / 3).checked_sub(1).filter(|&row| row < rows)?;
        let column = (column + tap % 3).checked_sub(1).filter(|&column| column < columns)?;
        Some((tap, (row, column)))
    })
}
