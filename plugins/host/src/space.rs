//! A plugin's search space. Architectures and networks that come back pass the same constructors
//! as any other.

use ghnas_core::{
    Architecture, ArchitectureError, Enumerate, Evolve, Network, Phase, SearchSpace, SpaceError,
    Task,
};
use ghnas_plugin_abi::Interface;
use ghnas_plugin_messages::{Cross, Lower, Mutate, Nth, OfArchitecture, Parse, Sample, method};
use serde::Serialize;

use crate::instance::{CallError, Instance};
use crate::stateless::Stateless;

/// The version of the ABI that brought the method `format`.
const FORMAT_SINCE: (u16, u16) = (1, 1);

pub(crate) struct PluginSpace {
    id: String,
    instance: Stateless,
    evolves: bool,
    /// How many architectures there are, where they can be listed.
    size: Option<u64>,
}

impl PluginSpace {
    pub(crate) fn new(instance: Instance, id: String) -> Result<Self, String> {
        let instance = Stateless::new(instance);
        let evolves = match instance.plugin().evolve_table() {
            Some(table) => instance
                .call_through(table, method::AVAILABLE, &())
                .map_err(|error| error.to_string())?,
            None => false,
        };
        let size = match instance.plugin().enumerate_table() {
            Some(table) => instance
                .call_through(table, method::SIZE, &())
                .map_err(|error| error.to_string())?,
            None => None,
        };
        Ok(Self { id, instance, evolves, size })
    }

    /// Calls a method that gives an architecture of this space.
    fn architecture(
        &self,
        table: &Interface,
        method: &str,
        request: &impl Serialize,
    ) -> Result<Architecture, CallError> {
        let arch: Architecture = self.instance.call_through(table, method, request)?;
        if arch.space() != self.id {
            let reason = format!("it gave an architecture of space '{}'", arch.space());
            return Err(self.instance.fault(method, reason));
        }
        Ok(arch)
    }

    fn evolve_table(&self) -> Result<&Interface, SpaceError> {
        let none = || SpaceError::Other("the space has no mutation and no crossover".into());
        self.instance.plugin().evolve_table().ok_or_else(none)
    }
}

fn other(error: CallError) -> SpaceError {
    match error {
        CallError::Broken(fault) => SpaceError::Broken(fault.to_string()),
        other => SpaceError::Other(other.to_string()),
    }
}

fn refused(error: CallError) -> ArchitectureError {
    ArchitectureError::Shape(error.to_string())
}

impl SearchSpace for PluginSpace {
    fn id(&self) -> &str {
        &self.id
    }

    fn sample(&self, phase: Phase, seed: u64) -> Result<Architecture, SpaceError> {
        let request = Sample { phase, seed };
        self.architecture(self.instance.table(), method::SAMPLE, &request).map_err(other)
    }

    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError> {
        let request = OfArchitecture { arch: arch.clone() };
        self.instance.call(method::VALIDATE, &request).map_err(refused)
    }

    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError> {
        let request = Lower { arch: arch.clone(), task };
        let network: Network = self.instance.call(method::LOWER, &request).map_err(other)?;
        if network.input() != task.image || network.classes() != task.classes {
            let reason = format!(
                "it gave a network for images of {} and {} classes, asked for {} and {}",
                network.input(),
                network.classes(),
                task.image,
                task.classes
            );
            return Err(other(self.instance.fault(method::LOWER, reason)));
        }
        Ok(network)
    }

    fn parse(&self, text: &str) -> Result<Architecture, ArchitectureError> {
        let request = Parse { text: text.into() };
        self.architecture(self.instance.table(), method::PARSE, &request).map_err(refused)
    }

    fn format(&self, arch: &Architecture) -> String {
        let request = OfArchitecture { arch: arch.clone() };
        let text = match self.instance.plugin().abi() < FORMAT_SINCE {
            true => None,
            // A plugin in another language may know of 1.1 and still have no notation.
            false => self.instance.call(method::FORMAT, &request).ok(),
        };
        text.unwrap_or_else(|| arch.to_string())
    }

    fn evolve(&self) -> Option<&dyn Evolve> {
        self.evolves.then_some(self)
    }

    fn enumerate(&self) -> Option<&dyn Enumerate> {
        self.size.map(|_| self as _)
    }
}

impl Enumerate for PluginSpace {
    fn size(&self) -> u64 {
        self.size.unwrap_or(0)
    }

    fn nth(&self, index: u64) -> Result<Architecture, SpaceError> {
        let none = || SpaceError::Other("the space cannot list its architectures".into());
        let table = self.instance.plugin().enumerate_table().ok_or_else(none)?;
        self.architecture(table, method::NTH, &Nth { index }).map_err(other)
    }
}

impl Evolve for PluginSpace {
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError> {
        let request = Mutate { arch: arch.clone(), seed };
        self.architecture(self.evolve_table()?, method::MUTATE, &request).map_err(other)
    }

    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        seed: u64,
    ) -> Result<Architecture, SpaceError> {
        let request = Cross { first: first.clone(), second: second.clone(), seed };
        self.architecture(self.evolve_table()?, method::CROSS, &request).map_err(other)
    }
}
