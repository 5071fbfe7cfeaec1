//! The GHN on slices, forward beside backward: from embeddings through propagation and features to
//! cuts.

use crate::parameters::Layer;
use crate::pass::{Pass, Values};
use crate::plan::Plan;
use crate::simd::{Kernel, Real, dispatch};
use crate::threads::Threads;

use super::affine::{Affine, add_input_gradient, rectify, rectify_back};
use super::cuts::{self, BranchGradient, Branches, Given};
use super::gnn::{self, Gnn, Record};
use super::matrix;
use super::weights::{LayerGradient, Layers, Rows};

/// What the forward pass leaves for the backward pass, and the memory of both.
#[derive(Default)]
pub(crate) struct Activations<E> {
    /// Weights of the shared layers, in the order of [`shared_layers`], transposed.
    transposed: [Vec<E>; 5],
    record: Record<E>,
    /// The embeddings after propagation: [nodes, hidden].
    pub(super) h: Vec<E>,
    /// The hypernetwork's rectified hidden layer: [nodes, hypernetwork hidden].
    features: Vec<E>,
    /// Those of the node of each cut: [cuts, hypernetwork hidden].
    chosen: Vec<E>,
    dh: Vec<E>,
    dfeatures: Vec<E>,
    /// By branch of the plan; further ones are of other plans.
    branches: Vec<BranchGradient<E>>,
}

/// The layers that every node goes through.
fn shared_layers(plan: &Plan) -> [Layer; 5] {
    let shared = plan.shared;
    let [first, second] = shared.message;
    [first, second, shared.gru_input, shared.gru_state, shared.hypernetwork]
}

/// A layer by the values of a pass; its transposed weight is kept in `transposed`.
fn affine<'a, E: Real>(
    values: &'a [Values<E>],
    layer: Layer,
    transposed: &'a mut Vec<E>,
) -> Affine<'a, E> {
    let [weight, bias] = [layer.weight, layer.bias].map(|id| &values[id.index()].data);
    Affine::new(weight, bias, transposed)
}

/// Fills the embeddings of a pass.
pub(super) fn embed<E: Real>(plan: &Plan, pass: &mut Pass<E>) {
    let Pass { values, activations, .. } = pass;
    let Activations { transposed: [first, second, gru_input, gru_state, _], record, h, .. } =
        activations;
    let shared = plan.shared;
    let message =
        [affine(values, shared.message[0], first), affine(values, shared.message[1], second)];
    let gru_input = affine(values, shared.gru_input, gru_input);
    let gru_state = affine(values, shared.gru_state, gru_state);
    h.resize(plan.nodes * gru_state.inputs(), E::default());
    dispatch(gnn::Forward { gnn: Gnn { message, gru_input, gru_state }, plan, values, record, h });
}

/// Fills the outputs and activations of a pass.
pub(super) fn forward<E: Real>(threads: &Threads, plan: &Plan, pass: &mut Pass<E>) {
    // Every output is written.
    pass.outputs.resize(plan.outputs, E::default());
    if plan.branches.is_empty() {
        return;
    }
    embed(plan, pass);
    let Pass { values, outputs, activations, .. } = pass;
    let Activations { transposed: [.., transposed], h, features, chosen, .. } = activations;
    let hypernetwork = affine(values, plan.shared.hypernetwork, transposed);
    features.resize(plan.nodes * hypernetwork.outputs(), E::default());
    dispatch(Features { layer: hypernetwork, h, features });
    chosen.clear();
    for cut in plan.slices().flat_map(|slice| &slice.cuts) {
        let hidden = hypernetwork.outputs();
        chosen.extend_from_slice(&features[cut.row * hidden..][..hidden]);
    }
    let pieces = &plan.pieces[..];
    threads.share(cuts::Forward { plan, values, features: chosen, pieces, outputs }, dispatch);
}

/// Writes the hypernetwork's hidden layer.
struct Features<'a, E> {
    layer: Affine<'a, E>,
    h: &'a [E],
    features: &'a mut [E],
}

impl<E: Real> Kernel for Features<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.layer.forward::<FMA>(self.h, self.features);
        rectify(self.features);
    }
}

/// Adds to `gradients` those of the sum of outputs times directions.
pub(super) fn backward<E: Real>(
    threads: &Threads,
    plan: &Plan,
    pass: &mut Pass<E>,
    gradients: &mut [Vec<E>],
) {
    let Pass { values, directions, activations, .. } = pass;
    let Activations { record, h, features, chosen, dh, dfeatures, branches, .. } = activations;
    if plan.branches.is_empty() {
        return;
    }
    if branches.len() < plan.branches.len() {
        branches.resize_with(plan.branches.len(), BranchGradient::default);
    }
    let branches = &mut branches[..plan.branches.len()];
    for (own, branch) in branches.iter_mut().zip(&plan.branches) {
        let Layer { weight, bias } = branch.layer;
        own.weight = std::mem::take(&mut gradients[weight.index()]);
        own.bias = std::mem::take(&mut gradients[bias.index()]);
    }
    let given = Given { values, features: chosen, directions };
    threads.share(Branches { branches: &plan.branches, gradients: branches }, |one| {
        for (branch, gradient) in one.branches.iter().zip(one.gradients) {
            threads.share(cuts::Backward::new(&given, branch, gradient), dispatch);
        }
    });
    dfeatures.clear();
    dfeatures.resize(features.len(), E::default());
    let hidden = features.len() / plan.nodes;
    for (own, branch) in branches.iter_mut().zip(&plan.branches) {
        let Layer { weight, bias } = branch.layer;
        gradients[weight.index()] = std::mem::take(&mut own.weight);
        gradients[bias.index()] = std::mem::take(&mut own.bias);
        let cuts = || branch.slices.iter().flat_map(|slice| &slice.cuts);
        for band in own.features.chunks_exact(branch.cuts() * hidden) {
            for (cut, row) in cuts().zip(band.chunks_exact(hidden)) {
                matrix::add(row, &mut dfeatures[cut.row * hidden..][..hidden]);
            }
        }
    }
    dh.clear();
    dh.resize(h.len(), E::default());
    let weight = &values[plan.shared.hypernetwork.weight.index()].data;
    dispatch(FeaturesBackward { weight, outputs: hidden, features, dfeatures, dh });
    dispatch(gnn::Backward { plan, values, record, dh });
    let hidden = h.len() / plan.nodes;
    for module in &plan.modules {
        let own = dh[module.first * hidden..].chunks_exact(hidden);
        for (&op, own) in module.ops.iter().zip(own) {
            matrix::add(own, &mut gradients[plan.embeddings[op].index()]);
        }
    }
    let rows: [(&[E], &[E]); 5] = [
        (&record.dlayer, &record.sender),
        (&record.dsent, &record.layer),
        (&record.dinput, &record.message),
        (&record.dstate, &record.state),
        (dfeatures, h),
    ];
    let mut rows = rows.into_iter();
    let mut layers = shared_layers(plan).map(|layer| {
        let (dy, x) = rows.next().expect("as many as layers");
        let [weight, bias] =
            [layer.weight, layer.bias].map(|id| std::mem::take(&mut gradients[id.index()]));
        LayerGradient { layer, dy, x, weight, bias }
    });
    threads.share(Layers(&mut layers), |some| {
        some.0.iter_mut().for_each(|one| threads.share(Rows::new(one), dispatch));
    });
    for LayerGradient { layer, weight, bias, .. } in layers {
        gradients[layer.weight.index()] = weight;
        gradients[layer.bias.index()] = bias;
    }
}

/// The adjoint of [`Features`] with respect to its input.
struct FeaturesBackward<'a, E> {
    /// [outputs, hidden]
    weight: &'a [E],
    outputs: usize,
    features: &'a [E],
    /// Turned into the gradient before rectification.
    dfeatures: &'a mut [E],
    /// Added to.
    dh: &'a mut [E],
}

impl<E: Real> Kernel for FeaturesBackward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { weight, outputs, features, dfeatures, dh } = self;
        rectify_back(features, dfeatures);
        add_input_gradient::<E, FMA>(weight, outputs, dfeatures, dh);
    }
}
