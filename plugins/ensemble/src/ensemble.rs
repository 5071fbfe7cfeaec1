//! Generators that take turns.

use std::collections::BTreeMap;

use ghnas_core::{
    Embed, GeneratorError, GeneratorState, Network, StepOptions, StepReport, Ticket, Tickets,
    WeightGenerator, Weights,
};

/// The entry that says whose turn it is.
const TURN: &str = "turn";

/// Generators of one kind, one of which learns at a time.
pub(crate) struct Ensemble {
    /// At least one.
    members: Vec<Box<dyn WeightGenerator>>,
    /// The member that makes the next step.
    turn: usize,
    /// Of each generation that may still be differentiated: the member that made it, and its own
    /// ticket.
    tickets: Tickets<(usize, Ticket)>,
}

impl Ensemble {
    /// # Panics
    /// Without members.
    pub(crate) fn new(members: Vec<Box<dyn WeightGenerator>>) -> Self {
        assert!(!members.is_empty(), "an ensemble has members");
        Self { members, turn: 0, tickets: Tickets::default() }
    }
}

impl WeightGenerator for Ensemble {
    /// Weights by the member whose turn it is.
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        let ticket = self.members[self.turn].generate(network, weights)?;
        Ok(self.tickets.issue((self.turn, ticket)))
    }

    /// Weights by the first member: who wants those of all asks each of them.
    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        self.members[0].predict(network, weights)
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let (member, own) = *self.tickets.get(ticket)?;
        self.members[member].vjp(own, gradients)?;
        self.tickets.discard(ticket);
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        if let Ok((member, own)) = self.tickets.redeem(ticket) {
            self.members[member].discard(own);
        }
    }

    /// A step of the member whose turn it is; then it is the next one's.
    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        let report = self.members[self.turn].step(options)?;
        self.turn = (self.turn + 1) % self.members.len();
        Ok(report)
    }

    fn parameter_count(&self) -> usize {
        self.members.iter().map(|member| member.parameter_count()).sum()
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let mut all = GeneratorState::default();
        all.entries.insert(TURN.into(), self.turn.to_string());
        for (index, member) in self.members.iter().enumerate() {
            let GeneratorState { tensors, entries } = member.save()?;
            let prefix = prefix(index);
            let named = tensors.into_iter().map(|(name, it)| (format!("{prefix}{name}"), it));
            all.tensors.extend(named);
            let named = entries.into_iter().map(|(name, it)| (format!("{prefix}{name}"), it));
            all.entries.extend(named);
        }
        Ok(all)
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        let turn = state.entries.get(TURN).and_then(|text| text.parse().ok());
        let count = self.members.len();
        let Some(turn) = turn.filter(|&turn: &usize| turn < count) else {
            let reason = format!("expected the number of one of {count} members");
            return Err(refuse(TURN, reason));
        };
        let tensors = divide(state.tensors.iter(), count)?;
        let entries = divide(state.entries.iter().filter(|(name, _)| *name != TURN), count)?;
        let parts = tensors.into_iter().zip(entries);
        // All or none: a member that refuses leaves the others as they were.
        let before: Vec<GeneratorState> =
            self.members.iter().map(|member| member.save()).collect::<Result<_, _>>()?;
        for (index, (tensors, entries)) in parts.enumerate() {
            if let Err(error) = self.members[index].load(&GeneratorState { tensors, entries }) {
                for (member, before) in self.members.iter_mut().zip(&before).take(index) {
                    member.load(before)?;
                }
                return Err(error);
            }
        }
        self.turn = turn;
        self.tickets.clear();
        Ok(())
    }

    /// Embeddings by the first member: those of another are in other coordinates.
    fn embed(&mut self) -> Option<&mut dyn Embed> {
        self.members[0].embed()
    }

    fn members(&mut self) -> &mut [Box<dyn WeightGenerator>] {
        &mut self.members
    }
}

/// What the names of a member's state begin with.
fn prefix(index: usize) -> String {
    format!("member {index}/")
}

/// What each of `count` members has of what is named, by the name that it has there.
fn divide<'a, T: Clone + 'a>(
    all: impl Iterator<Item = (&'a String, &'a T)>,
    count: usize,
) -> Result<Vec<BTreeMap<String, T>>, GeneratorError> {
    let mut parts = vec![BTreeMap::new(); count];
    for (name, value) in all {
        let Some((index, own)) = part(name, count) else {
            return Err(refuse(name, format!("of none of {count} members")));
        };
        parts[index].insert(own.into(), value.clone());
    }
    Ok(parts)
}

fn refuse(name: &str, reason: String) -> GeneratorError {
    GeneratorError::State { name: name.into(), reason }
}

/// The member, of `count`, that a name is of, and the name that it has there.
fn part(name: &str, count: usize) -> Option<(usize, &str)> {
    let (index, own) = name.strip_prefix("member ")?.split_once('/')?;
    let index = index.parse().ok().filter(|&index: &usize| index < count)?;
    Some((index, own))
}
