//! The GHN as a weight generator (Eq. 11 and 16).
//!
//! Parameters live in host memory; a dfdx device computes with them. A ticket keeps the plan and
//! the parameters of its generation, so that steps taken meanwhile do not change its Jacobian.

use std::collections::BTreeMap;
use std::sync::Arc;

use ghnas_core::{
    GeneratorError, GeneratorState, Network, Propagator, StepOptions, StepReport, Ticket,
    WeightGenerator, Weights,
};

use crate::device::OpenDevice;
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
    tickets: BTreeMap<Ticket, Generation>,
    next_ticket: u64,
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
        Self { open, settings, propagator, parameters, tickets: BTreeMap::new(), next_ticket: 0 }
    }

    fn plan(&mut self, network: &Network) -> Result<Arc<Plan>, GeneratorError> {
        let plan = Plan::new(network, &*self.propagator, &self.settings, &mut self.parameters)?;
        Ok(Arc::new(plan))
    }

    fn model(&self, snapshot: &Snapshot) -> Result<Model<f32, D>, GeneratorError> {
        let device = (self.open)().map_err(GeneratorError::Device)?;
        let leaf = |(parameter, values): (&Parameter, &Arc<Vec<f32>>)| {
            Leaf::new(parameter.shape, Arc::clone(values))
        };
        let leaves = self.parameters.iter().zip(snapshot).map(leaf).collect();
        Ok(Model::new(device, leaves))
    }

    fn write(
        &self,
        plan: &Arc<Plan>,
        snapshot: &Snapshot,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        plan.check(weights)?;
        let model = self.model(snapshot)?;
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
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, Generation { plan, snapshot });
        Ok(ticket)
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        let plan = self.plan(network)?;
        let snapshot = self.parameters.snapshot();
        self.write(&plan, &snapshot, weights)
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let unknown = || GeneratorError::Ticket(ticket.0);
        self.tickets.get(&ticket).ok_or_else(unknown)?.plan.check(gradients)?;
        let Generation { plan, snapshot } = self.tickets.remove(&ticket).ok_or_else(unknown)?;
        let packed = plan.branches.iter().map(|branch| {
            let mut packed = Vec::with_capacity(branch.len());
            for (cut, _) in branch.cuts() {
                let own = gradients.get(cut.param).iter();
                packed.extend(own.map(|&gradient| cut.factor * gradient));
            }
            packed
        });
        let model = self.model(&snapshot)?;
        let mut found = model.vjp(&plan, packed.collect()).map_err(device_error)?;
        for id in plan.parameters() {
            let leaf = model.tensor(id).map_err(device_error)?;
            D::add_gradient(&mut found, &leaf, self.parameters.gradient(id))
                .map_err(device_error)?;
        }
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.remove(&ticket);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        Ok(self.parameters.step(options))
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
}

fn device_error(error: impl std::fmt::Display) -> GeneratorError {
    GeneratorError::Device(error.to_string())
}
