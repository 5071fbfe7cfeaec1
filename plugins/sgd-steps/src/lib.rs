//! Training from scratch with SGD (section 5.3): a weight generator in which architectures share
//! nothing.
//!
//! Each network has tensors of its own, drawn when the network is first seen. A training step on
//! one architecture moves that architecture's weights alone, so that after k steps on it, its
//! score is that of k steps of SGD, and with none, that of random weights.

use ghnas_bank::{Bank, Init, SgdSettings, Version};
use ghnas_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Settings of training from scratch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdStepsSettings {
    /// The descent.
    pub sgd: SgdSettings,
    /// Decay of the moving average of the weights, which are scored; 0 for none.
    #[serde(default)]
    pub average: Averaging,
}

/// Weights of every network that was seen, each trained for itself.
pub struct SgdSteps {
    bank: Bank,
    /// Networks of this process, with the prefix of their tensors.
    known: Vec<(Network, String)>,
    /// The network of each generation that may still be differentiated.
    tickets: Tickets<usize>,
}

impl SgdSteps {
    /// The place of `network` among the known ones.
    fn place(&mut self, network: &Network) -> Result<usize, GeneratorError> {
        // Usually there is one, since an architecture is trained to the end before the next.
        if let Some(place) = self.known.iter().rposition(|(known, _)| known == network) {
            return Ok(place);
        }
        let text = serde_json::to_vec(network);
        let text = text.map_err(|error| GeneratorError::Other(error.to_string()))?;
        let digest = Sha256::digest(text);
        let prefix = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        self.known.push((network.clone(), prefix));
        Ok(self.known.len() - 1)
    }

    fn copy(
        &mut self,
        version: Version,
        place: usize,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        let (network, prefix) = &self.known[place];
        for (index, spec) in network.params().iter().enumerate() {
            let init = Init { role: spec.role, fan_in: spec.fan_in };
            let name = format!("{prefix}/{}", spec.name);
            let values = self.bank.values(version, &name, &spec.shape, init)?;
            weights.get_mut(ParamId(index as u32)).copy_from_slice(values);
        }
        Ok(())
    }
}

impl WeightGenerator for SgdSteps {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let place = self.place(network)?;
        self.copy(Version::Newest, place, weights)?;
        Ok(self.tickets.issue(place))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        let place = self.place(network)?;
        self.copy(Version::Average, place, weights)
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let place = self.tickets.redeem(ticket)?;
        let (network, prefix) = &self.known[place];
        for (index, spec) in network.params().iter().enumerate() {
            let tensor = self.bank.gradient_mut(&format!("{prefix}/{}", spec.name));
            let tensor = tensor.expect("drawn when the ticket was made");
            for (sum, gradient) in tensor.iter_mut().zip(gradients.get(ParamId(index as u32))) {
                *sum += gradient;
            }
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
        self.known.clear();
        self.tickets.clear();
        Ok(())
    }
}

register!(
    WeightGenerator for SgdSteps,
    "sgd-steps",
    "training from scratch: every architecture has weights of its own",
    || default_preset(&SgdStepsSettings { sgd: SgdSettings::PAPER, average: Averaging::OFF }),
    |settings: SgdStepsSettings, context| {
        settings.sgd.validate().map_err(|reason| format!("sgd.{reason}"))?;
        let bank = Bank::new(context.seed, settings.sgd, settings.average);
        Ok(SgdSteps { bank, known: Vec::new(), tickets: Tickets::default() })
    }
);
export_plugin!();
