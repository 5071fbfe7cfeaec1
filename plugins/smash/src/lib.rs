//! SMASH (Brock, Lim, Ritchie and Weston, 2018, arXiv 1708.05344): a hypernetwork that reads an
//! architecture as a memory-bank tensor and makes its 1x1 convolutions; every other weight is
//! learned directly and shared by the nodes of a module.
//!
//! Both are trained by Adam, as the authors train them, with one gradient norm to clip.

mod memory;

mod hypernetwork;
mod linear;

mod direct;

mod settings;
#[cfg(test)]
mod tests;

use ghnas_bank::{AdamSettings, Bank, Slot, Version};
use ghnas_plugin_sdk::prelude::*;

use hypernetwork::{Hypernetwork, NAME, Run};
use memory::Memory;
pub use settings::SmashSettings;

/// The hypernetwork, and what is learned directly.
pub struct Smash {
    settings: SmashSettings,
    hypernetwork: Bank,
    direct: Bank,
    tickets: Tickets<Generation>,
}

/// What a generation did.
struct Generation {
    hypernetwork: Hypernetwork,
    runs: Vec<Run>,
    direct: Vec<Slot>,
}

impl Smash {
    fn new(seed: u64, settings: SmashSettings) -> Self {
        let without_decay = AdamSettings { weight_decay: 0.0, ..settings.adam };
        Self {
            settings,
            hypernetwork: Bank::new(seed, without_decay, settings.average),
            direct: Bank::new(seed, settings.adam, settings.average),
            tickets: Tickets::default(),
        }
    }

    /// Writes all weights of `network`.
    fn run(
        &mut self,
        version: Version,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Generation, GeneratorError> {
        let direct = direct::slots(network)?;
        for direct in &direct {
            direct.write(version, &mut self.direct, weights)?;
        }
        let hypernetwork = Hypernetwork::read(&self.settings, version, &mut self.hypernetwork)?;
        let run = |memory: Memory| {
            let kernel = weights.get_mut(memory.param);
            hypernetwork.run(memory, version, &mut self.hypernetwork, kernel)
        };
        let memories = Memory::all(network, self.settings.group);
        let runs = memories.into_iter().map(run).collect::<Result<_, _>>()?;
        Ok(Generation { hypernetwork, runs, direct })
    }
}

impl WeightGenerator for Smash {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let generation = self.run(Version::Newest, network, weights)?;
        Ok(self.tickets.issue(generation))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        self.run(Version::Average, network, weights).map(|_| ())
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let generation = self.tickets.redeem(ticket)?;
        let Generation { hypernetwork, runs, direct } = generation;
        for direct in direct {
            direct.add_gradient(gradients, &mut self.direct);
        }
        if runs.is_empty() {
            // Nothing was made: the hypernetwork rests.
            return Ok(());
        }
        let mut gradient = hypernetwork.zero_gradient();
        for run in runs {
            let kernel = gradients.get(run.param());
            hypernetwork.add_gradient(&run, kernel, &mut gradient, &mut self.hypernetwork);
        }
        gradient.add_to(&mut self.hypernetwork);
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.discard(ticket);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        let banks = [&mut self.hypernetwork, &mut self.direct];
        let gradient_norm =
            banks.iter().map(|bank| bank.squared_gradient_norm()).sum::<f64>().sqrt();
        let applied = gradient_norm.is_finite();
        let scale = (options.clip_norm / gradient_norm).min(1.0);
        for bank in banks {
            bank.step_scaled(options.learning_rate, applied.then_some(scale));
        }
        Ok(StepReport { gradient_norm, applied })
    }

    fn parameter_count(&self) -> usize {
        self.hypernetwork.len() + self.direct.len()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let mut state = GeneratorState::default();
        self.hypernetwork.save(&mut state);
        self.direct.save(&mut state);
        Ok(state)
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        let mut hypernetwork = self.hypernetwork.clone();
        hypernetwork.load(state, |name| name.starts_with(NAME))?;
        self.direct.load(state, |name| !name.starts_with(NAME))?;
        self.hypernetwork = hypernetwork;
        self.tickets.clear();
        Ok(())
    }
}

register!(
    WeightGenerator for Smash,
    "smash",
    "a hypernetwork over a memory-bank tensor makes 1x1 convolutions (Brock et al. 2018)",
    || default_preset(&SmashSettings::DEFAULT),
    |settings: SmashSettings, context| {
        settings.validate()?;
        Ok(Smash::new(context.seed, settings))
    }
);

// The tests link the cell space, which exports itself.
#[cfg(not(test))]
export_plugin!();
