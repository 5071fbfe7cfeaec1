//! A plugin's searcher: commands come back as data.

use ghnas_core::{Command, Outcome, Searcher, SearcherError};
use ghnas_plugin_messages::{Reported, Suggest, method};

use crate::instance::{CallError, Instance};

pub(crate) struct PluginSearcher {
    instance: Instance,
}

impl PluginSearcher {
    pub(crate) fn new(instance: Instance) -> Self {
        Self { instance }
    }
}

fn words(error: CallError) -> SearcherError {
    SearcherError(error.to_string())
}

impl Searcher for PluginSearcher {
    fn suggest(&mut self, n: usize) -> Result<Vec<Command>, SearcherError> {
        let commands: Vec<Command> =
            self.instance.call(method::SUGGEST, &Suggest { n }).map_err(words)?;
        if commands.len() > n {
            let reason = format!("it gave {} commands, asked for {n} at most", commands.len());
            return Err(words(self.instance.fault(method::SUGGEST, reason)));
        }
        Ok(commands)
    }

    fn report(&mut self, outcomes: &[Outcome]) -> Result<(), SearcherError> {
        let outcomes: Vec<Reported> = outcomes.iter().map(Reported::from).collect();
        self.instance.call(method::REPORT, &outcomes).map_err(words)
    }

    fn save(&self) -> Result<Vec<u8>, SearcherError> {
        self.instance.call_bytes(method::SAVE, &[]).map_err(words)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), SearcherError> {
        let loaded = self.instance.call_bytes(method::LOAD, state);
        loaded.map(|_| ()).map_err(words)
    }
}
