//! The GHN as a weight generator (Eq. 11 and 16).
//!
//! Parameters live in host memory; a dfdx device computes with them. A ticket keeps the plan and
//! the pass of its generation with the parameters of that time, so that steps taken meanwhile do
//! not change its Jacobian.

use std::sync::Arc;

use ghnas_core::{
    Embed, GeneratorError, GeneratorState, Network, Propagator, StepOptions, StepReport, Ticket,
    Tickets, WeightGenerator, Weights,
};
use ghnas_dfdx_device::OpenDevice;

use crate::kernels::Kernels;
use crate::parameters::Parameters;
use crate::pass::Pass;
use crate::plan::Plan;
use crate::plans::Plans;
use crate::settings::GhnSettings;
use crate::state;
use crate::threads::Threads;

/// A GHN that computes on dfdx devices of type `D`.
pub(crate) struct Ghn<D> {
    open: OpenDevice<D>,
    threads: Arc<Threads>,
    settings: GhnSettings,
    propagator: Arc<dyn Propagator>,
    parameters: Parameters,
    plans: Plans,
    tickets: Tickets<Generation>,
    /// Passes that no ticket keeps: their memory is used again.
    idle: Vec<Pass<f32>>,
    /// The sums of gradients while more is added to them; otherwise empty.
    gradients: Vec<Vec<f32>>,
}

/// What a generation's vector-Jacobian product needs.
struct Generation {
    plan: Arc<Plan>,
    pass: Pass<f32>,
}

/// The most passes whose memory is kept: more are only in use at once where tickets pile up.
const MOST_IDLE: usize = 4;

impl<D: Kernels<f32>> Ghn<D> {
    /// A new GHN whose initial parameters are drawn from `seed`.
    pub(crate) fn new(
        open: OpenDevice<D>,
        threads: Threads,
        settings: GhnSettings,
        propagator: Arc<dyn Propagator>,
        seed: u64,
    ) -> Self {
        let mut parameters = Parameters::new(seed);
        parameters.shared(&settings);
        Self {
            open,
            threads: Arc::new(threads),
            settings,
            propagator,
            parameters,
            plans: Plans::default(),
            tickets: Tickets::default(),
            idle: Vec::new(),
            gradients: Vec::new(),
        }
    }

    /// Writes the weights of `network` from the values that `fill` chooses.
    fn write(
        &mut self,
        network: &Network,
        weights: &mut Weights,
        fill: impl FnOnce(&Parameters, &mut Pass<f32>),
    ) -> Result<Generation, GeneratorError> {
        let Self { plans, propagator, settings, parameters, .. } = self;
        let plan = plans.plan(network, &**propagator, settings, parameters)?;
        plan.check(weights)?;
        let mut pass = self.idle.pop().unwrap_or_default();
        fill(&self.parameters, &mut pass);
        D::generate(&self.open, &self.threads, &plan, &mut pass).map_err(GeneratorError::Device)?;
        plan.write(&pass.outputs, weights);
        Ok(Generation { plan, pass })
    }

    /// Takes a pass back.
    fn reuse(&mut self, mut pass: Pass<f32>) {
        if self.idle.len() < MOST_IDLE {
            // A step would copy parameters that someone else holds.
            pass.values.clear();
            self.idle.push(pass);
        }
    }
}

impl<D: Kernels<f32>> WeightGenerator for Ghn<D> {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let generation =
            self.write(network, weights, |parameters, pass| parameters.snapshot(&mut pass.values))?;
        Ok(self.tickets.issue(generation))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        let Generation { pass, .. } =
            self.write(network, weights, |parameters, pass| parameters.averages(&mut pass.values))?;
        self.reuse(pass);
        Ok(())
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        self.tickets.get(ticket)?.plan.check(gradients)?;
        let Generation { plan, mut pass } = self.tickets.redeem(ticket)?;
        plan.read(gradients, &mut pass.directions);
        let sums = &mut self.gradients;
        self.parameters.take_gradients(sums);
        let result = D::vjp(&self.open, &self.threads, &plan, &mut pass, sums);
        self.parameters.put_gradients(sums, plan.parameters());
        self.reuse(pass);
        if result.is_err() {
            // Half of it may have been added: nobody could tell which.
            self.parameters.clear_gradients();
        }
        result.map_err(GeneratorError::Device)
    }

    fn discard(&mut self, ticket: Ticket) {
        if let Ok(Generation { pass, .. }) = self.tickets.redeem(ticket) {
            self.reuse(pass);
        }
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        let Self { threads, parameters, settings, .. } = self;
        Ok(threads.enter(|| parameters.step(threads, options, settings.average)))
    }

    fn parameter_count(&self) -> usize {
        self.parameters.count()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        Ok(state::save(&self.settings, &self.parameters))
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        self.parameters = state::load(state, &self.settings)?;
        self.plans.clear();
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
        let Self { open, plans, propagator, settings, parameters, idle, .. } = self;
        let plan = plans.plan(network, &**propagator, settings, parameters)?;
        if plan.nodes == 0 {
            return Err(GeneratorError::Other("a network without nodes has no embedding".into()));
        }
        let mut pass = idle.pop().unwrap_or_default();
        parameters.averages(&mut pass.values);
        // h: [nodes, hidden]
        let h = D::embed(open, &plan, &mut pass).map_err(GeneratorError::Device)?;
        let mut mean = vec![0.0; settings.hidden];
        for row in h.chunks_exact(mean.len()) {
            mean.iter_mut().zip(row).for_each(|(mean, h)| *mean += h / plan.nodes as f32);
        }
        self.reuse(pass);
        Ok(mean)
    }
}
