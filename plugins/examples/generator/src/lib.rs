//! A weight generator: one shared tensor a kind of parameter, from which every parameter is cut,
//! trained by gradient descent. The simplest one-shot model.

use std::collections::BTreeMap;

use ghnas_plugin_sdk::prelude::*;

/// The shared tensor of one kind, in the kind's largest shape, with its gradient.
struct Shared {
    shape: Vec<usize>,
    values: Vec<f32>,
    gradient: Vec<f32>,
}

/// One shared tensor a kind of parameter.
pub struct Bank {
    seed: u64,
    /// By kind and shape: one kind may be asked for in several largest shapes.
    shared: BTreeMap<String, Shared>,
    /// What each generation wrote: the shared tensor and the indices in it, a parameter.
    tickets: Tickets<Vec<(String, Vec<usize>)>>,
}

impl Bank {
    /// Writes all parameters and gives where they were cut.
    fn cut(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Vec<(String, Vec<usize>)>, GeneratorError> {
        let mut cuts = Vec::new();
        for (index, spec) in network.params().iter().enumerate() {
            let refuse = |error: SlicingError| GeneratorError::Param {
                param: spec.name.clone(),
                reason: error.to_string(),
            };
            let slicing = Slicing::new(&spec.largest, &spec.shape).map_err(refuse)?;
            let key = format!("{}{:?}", spec.kind, spec.largest);
            let seed = self.seed;
            let shared = self.shared.entry(key.clone()).or_insert_with(|| {
                let mut rng = stream(seed, &key, 0);
                let scale = match spec.role {
                    ParamRole::Scale => 0.0,
                    _ => (6.0 / spec.fan_in as f32).sqrt(),
                };
                let count = spec.largest.iter().product();
                let draw = |_| scale * (2.0 * rng.random::<f32>() - 1.0);
                let values: Vec<f32> = (0..count).map(draw).collect();
                Shared { shape: spec.largest.clone(), gradient: vec![0.0; count], values }
            });
            // A factor of a batch norm is neutral at one.
            let offset = if spec.role == ParamRole::Scale { 1.0 } else { 0.0 };
            let indices: Vec<usize> = slicing.indices().collect();
            let target = weights.get_mut(ParamId(index as u32));
            for (weight, &from) in target.iter_mut().zip(&indices) {
                *weight = offset + shared.values[from];
            }
            cuts.push((key, indices));
        }
        Ok(cuts)
    }
}

impl WeightGenerator for Bank {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let cuts = self.cut(network, weights)?;
        Ok(self.tickets.issue(cuts))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        self.cut(network, weights).map(|_| ())
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let cuts = self.tickets.redeem(ticket)?;
        for (param, (key, indices)) in cuts.into_iter().enumerate() {
            let shared = self.shared.get_mut(&key).expect("cut from it");
            for (&gradient, to) in gradients.get(ParamId(param as u32)).iter().zip(indices) {
                shared.gradient[to] += gradient;
            }
        }
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.discard(ticket);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        let all = self.shared.values().flat_map(|shared| &shared.gradient);
        let norm = all.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let applied = norm.is_finite();
        let scale = options.learning_rate * (options.clip_norm / norm).min(1.0);
        for shared in self.shared.values_mut() {
            for (value, gradient) in shared.values.iter_mut().zip(&mut shared.gradient) {
                if applied {
                    *value -= scale as f32 * *gradient;
                }
                *gradient = 0.0;
            }
        }
        Ok(StepReport { gradient_norm: norm, applied })
    }

    fn parameter_count(&self) -> usize {
        self.shared.values().map(|shared| shared.values.len()).sum()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let tensor = |(key, shared): (&String, &Shared)| {
            let tensor = StateTensor { shape: shared.shape.clone(), data: shared.values.clone() };
            (key.clone(), tensor)
        };
        let tensors = self.shared.iter().map(tensor).collect();
        Ok(GeneratorState { tensors, entries: BTreeMap::new() })
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        let shared = |(key, tensor): (&String, &StateTensor)| {
            let (shape, values) = (tensor.shape.clone(), tensor.data.clone());
            let shared = Shared { shape, gradient: vec![0.0; values.len()], values };
            (key.clone(), shared)
        };
        self.shared = state.tensors.iter().map(shared).collect();
        self.tickets.clear();
        Ok(())
    }
}

register!(WeightGenerator for Bank, "example-generator", "one shared tensor a kind", |context| {
    Ok(Bank { seed: context.seed, shared: BTreeMap::new(), tickets: Tickets::default() })
});
export_plugin!();
