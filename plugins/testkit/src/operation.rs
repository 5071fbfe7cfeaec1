//! Operations: shapes, parameters, counts, gradients.

use std::sync::Arc;

use ghnas_core::rng::derive_seed;
use ghnas_core::{
    Counting, Fragment, Images, Network, Operation, OperationContext, ParamId, Shape, ValueId,
    Weights, multiply_adds,
};

use crate::networks::{TASK, around};
use crate::{SEED, Suite, require, words};

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("any number of inputs gives the right shape, twice the same", |suite| {
        for (inputs, shape, context) in places() {
            let record =
                || Fragment::record(&*build(suite)?, &vec![shape; inputs], context).map_err(words);
            require(record()? == record()?, || format!("two expansions of {inputs} x {shape}"))?;
        }
        Ok(())
    });
    suite.check("parameters are slices of the largest, and all are read", |suite| {
        // A network is refused where a parameter is not such a slice, or is not read.
        let network = network(suite)?;
        let counted: usize = network.params().iter().map(|param| param.len()).sum();
        require(counted == network.param_count(), || "parameters are counted twice".into())?;
        let wider = Fragment::record(
            &*build(suite)?,
            &[Shape::new(16, 6, 6)],
            OperationContext { channels: 16, max_channels: 16 },
        )
        .map_err(words)?;
        for param in wider.params {
            require(
                param.largest == largest(&network, &param.kind).unwrap_or(param.largest.clone()),
                || {
                    format!(
                        "the largest shape of '{}' follows the node's channels, not max_channels",
                        param.kind
                    )
                },
            )?;
        }
        let counted = multiply_adds(&network, Counting::default()).0;
        let kernels = network.params().iter().any(|param| param.kind != "classifier");
        require(counted > 0 || !kernels, || "no multiply-adds are counted".into())?;
        Ok(())
    });
    suite.check("gradients are central differences", gradients);
    if let Ok(operation) = build(suite) {
        for (inputs, shape, context) in places() {
            let fragment = Fragment::record(&*operation, &vec![shape; inputs], context);
            suite.record(
                fragment.map(|it| serde_json::to_vec(&it).unwrap_or_default()).unwrap_or_default(),
            );
        }
    }
}

fn largest(network: &Network, kind: &str) -> Option<Vec<usize>> {
    network.params().iter().find(|param| param.kind == kind).map(|param| param.largest.clone())
}

fn places() -> impl Iterator<Item = (usize, Shape, OperationContext)> {
    let shapes = [Shape::new(8, 8, 8), Shape::new(16, 5, 7), Shape::new(32, 1, 1)];
    let place = |(inputs, shape): (usize, Shape)| {
        (inputs, shape, OperationContext { channels: shape.channels, max_channels: 32 })
    };
    (1..=3).flat_map(move |inputs| shapes.map(|shape| (inputs, shape))).map(place)
}

fn build(suite: &Suite<'_>) -> Result<Arc<dyn Operation>, String> {
    let operations = &suite.catalogue.operations;
    operations.build(&suite.entry.id, &suite.settings, &suite.context()).map_err(words)
}

/// The operation over the images and over a rectified copy of them.
fn network(suite: &Suite<'_>) -> Result<Network, String> {
    let operation = build(suite)?;
    let channels = TASK.image.channels;
    let network = around(&suite.entry.id, |node| {
        let rectified = node.relu(ValueId::IMAGES)?;
        let context = OperationContext { channels, max_channels: 16 };
        operation.expand(node, &[ValueId::IMAGES, rectified], context)
    });
    network.map_err(words)
}

fn gradients(suite: &Suite<'_>) -> Result<(), String> {
    const COUNT: usize = 4;
    let network = network(suite)?;
    let executors = &suite.catalogue.executors;
    let settings = executors.get("native").map_err(words)?.default_settings();
    let mut executor = executors.build("native", &settings, &suite.context()).map_err(words)?;
    let uniform = |index: u64| {
        let draw = derive_seed(SEED, "conformance", index) >> 40;
        draw as f32 / (1u64 << 23) as f32 - 1.0
    };
    let images: Vec<f32> = (0..(COUNT * TASK.image.elements()) as u64).map(uniform).collect();
    let labels: Vec<u16> = (0..COUNT as u16).map(|image| image % TASK.classes as u16).collect();
    let mut weights = Weights::zeros_for(network.params());
    for index in 0..network.params().len() as u32 {
        for (value, draw) in
            weights.get_mut(ParamId(index)).iter_mut().zip(1000 * u64::from(index)..)
        {
            *value = uniform(1_000_000 + draw);
        }
    }
    let mut gradients = Weights::zeros_for(network.params());
    let mut loss = |weights: &Weights, gradients: &mut Weights| {
        let images = Images { data: &images, count: COUNT };
        let sum = executor.loss_and_gradients(&network, weights, images, &labels, gradients);
        sum.map(|sum| sum.mean_loss()).map_err(words)
    };
    loss(&weights, &mut gradients)?;
    let mut scratch = Weights::zeros_for(network.params());
    // Kinks of relu and of max pooling lie between the points now and then; one in ten may.
    let (mut wrong, mut tried) = (Vec::new(), 0usize);
    for (index, spec) in network.params().iter().enumerate() {
        let id = ParamId(index as u32);
        for at in (0..spec.len()).step_by(spec.len().div_ceil(8)) {
            const EPSILON: f32 = 4e-3;
            let mut at_distance = |distance: f32| {
                let before = weights.get(id)[at];
                weights.get_mut(id)[at] = before + distance;
                let found = loss(&weights, &mut scratch);
                weights.get_mut(id)[at] = before;
                found
            };
            let difference =
                (at_distance(EPSILON)? - at_distance(-EPSILON)?) / f64::from(2.0 * EPSILON);
            let gradient = f64::from(gradients.get(id)[at]);
            tried += 1;
            if (difference - gradient).abs() > 0.02 * difference.abs().max(gradient.abs()).max(0.05)
            {
                wrong.push(format!(
                    "{}[{at}]: gradient {gradient}, difference {difference}",
                    spec.name
                ));
            }
        }
    }
    require(wrong.len() * 10 <= tried, || wrong.join("; "))
}
