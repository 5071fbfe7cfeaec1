//! The one-shot model (Pham et al., 2018, as section 5.3 describes it): every node of a supernet
//! stores parameters for every operation, and an architecture selects.
//!
//! The model is trained by sampling: a step moves what the sampled architecture reads and nothing
//! else. Nodes are told apart by their position in the canonical order, so that isomorphic
//! architectures select the same tensors. Tensors are drawn when they are first selected, so
//! the supernet grows to one tensor for every node, operation and parameter: O(KN) for K operations
//! and N nodes. It has to be trained with the number of nodes that it is used with: what no
//! training step selected is random.

mod slots;
#[cfg(test)]
mod tests;

use ghnas_bank::{Bank, SgdSettings, Slot, Version};
use ghnas_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use slots::slots;

/// How ENAS trains its shared parameters on CIFAR-10 (Pham et al., 2018, section 3.2; the momentum
/// is that of their code). A learning rate of 0.2 suits runs of minutes; theirs starts at 0.05.
const ENAS: SgdSettings = SgdSettings { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };

/// Settings of the one-shot model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneShotSettings {
    /// The descent.
    pub sgd: SgdSettings,
    /// Decay of the moving average of the parameters, which are scored; 0 for none. A parameter's
    /// average moves in the steps in which it was selected.
    #[serde(default)]
    pub average: Averaging,
}

impl OneShotSettings {
    /// As ENAS is trained, without an average.
    pub const DEFAULT: Self = Self { sgd: ENAS, average: Averaging::OFF };
}

/// The supernet, as far as it was selected.
pub struct OneShot {
    bank: Bank,
    /// What each generation that may still be differentiated selected.
    tickets: Tickets<Vec<Slot>>,
}

impl OneShot {
    fn new(seed: u64, settings: OneShotSettings) -> Self {
        let bank = Bank::new(seed, settings.sgd, settings.average);
        Self { bank, tickets: Tickets::default() }
    }

    /// Writes what `network` selects to `weights`.
    fn select(
        &mut self,
        version: Version,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Vec<Slot>, GeneratorError> {
        let slots = slots(network)?;
        for slot in &slots {
            slot.write(version, &mut self.bank, weights)?;
        }
        Ok(slots)
    }
}

impl WeightGenerator for OneShot {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let slots = self.select(Version::Newest, network, weights)?;
        Ok(self.tickets.issue(slots))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        self.select(Version::Average, network, weights).map(|_| ())
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let slots = self.tickets.redeem(ticket)?;
        for slot in slots {
            slot.add_gradient(gradients, &mut self.bank);
        }
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.discard(ticket);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        Ok(self.bank.step(options))
    }

    fn parameter_count(&self) -> usize {
        self.bank.len()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let mut state = GeneratorState::default();
        self.bank.save(&mut state);
        Ok(state)
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        self.bank.load(state, |_| true)?;
        self.tickets.clear();
        Ok(())
    }
}

register!(
    WeightGenerator for OneShot,
    "one-shot",
    "a supernet whose nodes store parameters for every operation (Pham et al. 2018)",
    || default_preset(&OneShotSettings::DEFAULT),
    |settings: OneShotSettings, context| {
        settings.sgd.validate().map_err(|reason| format!("sgd.{reason}"))?;
        Ok(OneShot::new(context.seed, settings))
    }
);

// The tests link the cell space, which exports itself.
#[cfg(not(test))]
export_plugin!();
