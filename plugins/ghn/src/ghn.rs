//! The GHN as a weight generator (Eq. 11 and 16).
//!
//! Parameters live in host memory; a dfdx device computes with them. A ticket keeps the plan and
//! the parameters of its generation, so that steps taken meanwhile do not change its Jacobian.

use std::sync::Arc;

use ghnas_core::{
    Embed, GeneratorError, GeneratorState, Network, Propagator, StepOptions, StepReport, Ticket,
    Tickets, WeightGenerator, Weights,
};
use ghnas_dfdx_device::OpenDevice;

use crate::kernels::Kernels;
use crate::model::{Leaf, Model};
use crate::parameters::{Parameter, Parameters, Snapshot};
use crate::plan::Plan;
use crate::settings::GhnSettings;
use crate::state;

/// A GHN that computes on dfdx devices of type `D`.
pub(crate) struct Ghn<D> {
    open: OpenDevice<D>,
    settings: GhnSettings,
    propagator: Arc<dyn Propagator>,
    parameters: Parameters,
    tickets: Tickets<Generation>,
}

/// What a generation's vector-Jacobian product needs.
struct Generation {
    plan: Arc<Plan>,
    snapshot: Snapshot,
}

impl<D: Kernels<f32>> Ghn<D> {
    /// A new GHN whose initial parameters are drawn from `seed`.
    pub(crate) fn new(
        open: OpenDevice<D>,
        settings: GhnSettings,
        propagator: Arc<dyn Propagator>,
        seed: u64,
    ) -> Self {
        let mut parameters = Parameters::new(seed);
        parameters.shared(&settings);
        Self { open, settings, propagator, parameters, tickets: Tickets::default() }
    }

    fn plan(&mut self, network: &Network) -> Result<Arc<Plan>, GeneratorError> {
        let plan = Plan::new(network, &*self.propagator, &self.settings, &mut self.parameters)?;
        Ok(Arc::new(plan))
    }

    /// The parameters of `snapshot`, each with the sum that its gradient is added to; where none
    /// is wanted, with no sums.
    fn model(
        &self,
        device: D,
        snapshot: &Snapshot,
        sums: impl Iterator<Item = Vec<f32>>,
    ) -> Model<f32, D> {
        let leaf = |((parameter, values), sum): ((&Parameter, &Arc<Vec<f32>>), _)| {
            Leaf::new(parameter.shape, Arc::clone(values), sum)
        };
        Model::new(device, self.parameters.iter().zip(snapshot).zip(sums).map(leaf).collect())
    }

    fn device(&self) -> Result<D, GeneratorError> {
        (self.open)().map_err(GeneratorError::Device)
    }

    fn write(
        &self,
        plan: &Arc<Plan>,
        snapshot: &Snapshot,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        plan.check(weights)?;
        let model = self.model(self.device()?, snapshot, std::iter::repeat_with(Vec::new));
        let (outputs, _) = model.forward(plan, dfdx::tensor::NoneTape).map_err(device_error)?;
        for (branch, output) in plan.branches.iter().zip(outputs) {
            let mut values = vec![0.0; branch.len()];
            output.copy_into(&mut values);
            let mut rest = &values[..];
            for (cut, indices) in branch.cuts() {
                let (own, others) = rest.split_at(indices.len());
                for (weight, &value) in weights.get_mut(cut.param).iter_mut().zip(own) {
                    *weight = cut.offset + cut.factor * value;
                }
                rest = others;
            }
        }
        Ok(())
    }
}

impl<D: Kernels<f32>> WeightGenerator for Ghn<D> {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let plan = self.plan(network)?;
        let snapshot = self.parameters.snapshot();
        self.write(&plan, &snapshot, weights)?;
        Ok(self.tickets.issue(Generation { plan, snapshot }))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        let plan = self.plan(network)?;
        let averages = self.parameters.averages();
        self.write(&plan, &averages, weights)
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        self.tickets.get(ticket)?.plan.check(gradients)?;
        let Generation { plan, snapshot } = self.tickets.redeem(ticket)?;
        let directions = plan.branches.iter().map(|branch| {
            let mut packed = Vec::with_capacity(branch.len());
            for (cut, _) in branch.cuts() {
                let own = gradients.get(cut.param).iter();
                packed.extend(own.map(|&gradient| cut.factor * gradient));
            }
            packed
        });
        let device = self.device()?;
        let directions = directions.collect();
        let sums = self.parameters.take_gradients(snapshot.len());
        let model = self.model(device, &snapshot, sums.into_iter());
        let result = model.vjp(&plan, directions).map_err(device_error);
        self.parameters.put_gradients(model.into_gradients(), plan.parameters());
        if result.is_err() {
            // Half of it may have been added: nobody could tell which.
            self.parameters.clear_gradients();
        }
        result
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.discard(ticket);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        Ok(self.parameters.step(options, self.settings.average))
    }

    fn parameter_count(&self) -> usize {
        self.parameters.count()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        Ok(state::save(&self.settings, &self.parameters))
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        self.parameters = state::load(state, &self.settings)?;
        self.tickets.clear();
        Ok(())
    }

    fn embed(&mut self) -> Option<&mut dyn Embed> {
        Some(self)
    }
}

impl<D: Kernels<f32>> Embed for Ghn<D> {
    /// The mean over the embeddings of all nodes after propagation: h_A of Eq. 13, of the chain of
    /// modules as one graph. The last module's own would be that of the head, which hears of all
    /// others through one message alone.
    fn embedding(&mut self, network: &Network) -> Result<Vec<f32>, GeneratorError> {
        let plan = self.plan(network)?;
        if plan.nodes == 0 {
            return Err(GeneratorError::Other("a network without nodes has no embedding".into()));
        }
        let averages = self.parameters.averages();
        let model = self.model(self.device()?, &averages, std::iter::repeat_with(Vec::new));
        // h: [nodes, hidden]
        let (h, _) = D::embed(&model, &plan, dfdx::tensor::NoneTape).map_err(device_error)?;
        let mut mean = vec![0.0; self.settings.hidden];
        for row in h.as_vec().chunks_exact(mean.len()) {
            mean.iter_mut().zip(row).for_each(|(mean, h)| *mean += h / plan.nodes as f32);
        }
        Ok(mean)
    }
}

fn device_error(error: impl std::fmt::Display) -> GeneratorError {
    GeneratorError::Device(error.to_string())
}
