//! Weight generators: weights, tickets, gradients, state. The host's buffers have guards on all
//! sides, so every check is also one of writing past the end.

use ghnas_core::{
    Convolution, GeneratorError, Network, ParamId, ParamRequest, StepOptions, ValueId,
    WeightGenerator, Weights,
};

use crate::jacobian::{self, product};
use crate::networks::{TASK, around};
use crate::{Suite, require, words};

/// No clipping, so that the reported norm is that of the gradient.
const STEP: StepOptions = StepOptions { learning_rate: 1e-2, clip_norm: f64::INFINITY };

pub(crate) fn check(suite: &mut Suite<'_>) {
    suite.check("same seed, same weights; generating and predicting agree", |suite| {
        for network in networks()? {
            let (mut one, mut two) = (build(suite)?, build(suite)?);
            let (mut own, mut others) = (zeros(&network), zeros(&network));
            let ticket = one.generate(&network, &mut own).map_err(words)?;
            two.predict(&network, &mut others).map_err(words)?;
            require(own.as_slice() == others.as_slice(), || "other weights".into())?;
            one.discard(ticket);
        }
        Ok(())
    });
    suite.check("the product with the Jacobian is that of finite differences", |suite| {
        let networks = networks()?;
        let check = |network| jacobian::check(&|| build(suite), network, &gradients(network, 3));
        networks.iter().try_for_each(check)
    });
    suite.check("two tickets live beside each other and are used up", two_tickets);
    suite.check("saved and loaded, the next step is identical", restored);
    suite.check("a step against the gradient goes down", |suite| {
        let network = &networks()?[0];
        let mut generator = build(suite)?;
        let (mut before, mut after) = (zeros(network), zeros(network));
        let ticket = generator.generate(network, &mut before).map_err(words)?;
        let gradients = gradients(network, 0);
        generator.vjp(ticket, &gradients).map_err(words)?;
        let report = generator.step(STEP).map_err(words)?;
        require(report.applied, || "it did not move".into())?;
        generator.predict(network, &mut after).map_err(words)?;
        let change = product(&gradients, &after) - product(&gradients, &before);
        require(change < 0.0, || format!("the loss changed by {change}"))
    });
    if let (Ok(networks), Ok(mut generator)) = (networks(), build(suite)) {
        for network in networks {
            let mut weights = zeros(&network);
            let _ = generator.predict(&network, &mut weights);
            suite.record(
                weights.as_slice().iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
            );
        }
    }
}

fn build(suite: &Suite<'_>) -> Result<Box<dyn WeightGenerator>, String> {
    let generators = &suite.catalogue.generators;
    generators.build(&suite.entry.id, &suite.settings, &suite.context()).map_err(words)
}

/// Two small networks that share some kinds; their parameters do not fill cache lines.
pub(crate) fn networks() -> Result<[Network; 2], String> {
    let network = |channels, affine: bool| {
        around("conv", |node| {
            let geometry = Convolution {
                weight: ParamId(0),
                out_channels: channels,
                kernel: [3, 3],
                stride: 1,
                dilation: 1,
                padding: [1, 1],
                groups: 1,
            };
            let largest = vec![5, TASK.image.channels, 3, 3];
            let param = ParamRequest { name: "kernel", kind: "kernel", largest };
            let value = node.conv2d(ValueId::IMAGES, geometry, param)?;
            let request = |name| ParamRequest { name, kind: name, largest: vec![5] };
            match affine {
                true => node.batch_norm_affine(value, request("scale"), request("shift")),
                false => node.batch_norm(value),
            }
        })
        .map_err(words)
    };
    Ok([network(5, true)?, network(3, false)?])
}

fn zeros(network: &Network) -> Weights {
    Weights::zeros_for(network.params())
}

/// Gradients of a loss that is linear in the weights.
pub(crate) fn gradients(network: &Network, seed: u64) -> Weights {
    let mut gradients = zeros(network);
    for index in 0..network.params().len() as u32 {
        for (value, at) in gradients.get_mut(ParamId(index)).iter_mut().zip(0u64..) {
            let draw = (at * 31 + u64::from(index) * 17 + seed * 7) % 13;
            *value = draw as f32 / 6.0 - 1.0;
        }
    }
    gradients
}

fn two_tickets(suite: &Suite<'_>) -> Result<(), String> {
    let [first, second] = networks()?;
    let run = |reverse: bool| -> Result<f64, String> {
        let mut generator = build(suite)?;
        let mut tickets = Vec::new();
        for network in [&first, &second] {
            let ticket = generator.generate(network, &mut zeros(network)).map_err(words)?;
            tickets.push((ticket, gradients(network, 1)));
        }
        require(tickets[0].0 != tickets[1].0, || "two generations have one ticket".into())?;
        if reverse {
            tickets.reverse();
        }
        for (ticket, gradients) in &tickets {
            generator.vjp(*ticket, gradients).map_err(words)?;
            match generator.vjp(*ticket, gradients) {
                Err(GeneratorError::Ticket(_)) => {}
                other => return Err(format!("a used ticket gave {other:?}")),
            }
        }
        Ok(generator.step(STEP).map_err(words)?.gradient_norm)
    };
    let (one, two) = (run(false)?, run(true)?);
    require((one - two).abs() <= 1e-5 * one, || format!("norms {one} and {two}"))
}

fn restored(suite: &Suite<'_>) -> Result<(), String> {
    let [first, second] = networks()?;
    let step = |generator: &mut dyn WeightGenerator, network: &Network| {
        let ticket = generator.generate(network, &mut zeros(network))?;
        generator.vjp(ticket, &gradients(network, 2))?;
        generator.step(STEP)
    };
    let mut generator = build(suite)?;
    step(&mut *generator, &first).map_err(words)?;
    let state = generator.save().map_err(words)?;
    let mut again = build(suite)?;
    again.load(&state).map_err(words)?;
    require(again.save().map_err(words)? == state, || "other state after loading".into())?;
    for network in [&second, &first] {
        let (one, two) = (step(&mut *generator, network), step(&mut *again, network));
        require(one.map_err(words)? == two.map_err(words)?, || "another step".into())?;
    }
    for network in [&first, &second] {
        let (mut own, mut others) = (zeros(network), zeros(network));
        generator.predict(network, &mut own).map_err(words)?;
        again.predict(network, &mut others).map_err(words)?;
        require(own.as_slice() == others.as_slice(), || "other weights after the step".into())?;
    }
    Ok(())
}
