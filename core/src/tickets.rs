//! Generations that may still be differentiated: what implementations of
//! [`WeightGenerator`](crate::WeightGenerator) keep by ticket.

use std::collections::BTreeMap;

use crate::generator::{GeneratorError, Ticket};

/// What was kept of each generation, until its ticket is redeemed or discarded.
///
/// ```
/// use ghnas_core::{GeneratorError, Tickets};
/// let mut tickets = Tickets::default();
/// let ticket = tickets.issue("what the product needs");
/// assert_eq!(tickets.redeem(ticket).unwrap(), "what the product needs");
/// assert!(matches!(tickets.redeem(ticket), Err(GeneratorError::Ticket(0))));
/// ```
#[derive(Debug)]
pub struct Tickets<T> {
    open: BTreeMap<Ticket, T>,
    next: u64,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), next: 0 }
    }
}

impl<T> Tickets<T> {
    /// A new ticket for a generation of which `kept` is kept.
    pub fn issue(&mut self, kept: T) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.open.insert(ticket, kept);
        ticket
    }

    /// What was kept.
    ///
    /// # Errors
    /// [`GeneratorError::Ticket`] where the ticket is unknown or was used up.
    pub fn get(&self, ticket: Ticket) -> Result<&T, GeneratorError> {
        self.open.get(&ticket).ok_or(GeneratorError::Ticket(ticket.0))
    }

    /// Uses the ticket up and gives what was kept.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn redeem(&mut self, ticket: Ticket) -> Result<T, GeneratorError> {
        self.open.remove(&ticket).ok_or(GeneratorError::Ticket(ticket.0))
    }

    /// Forgets a ticket, where it is known.
    pub fn discard(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    /// Forgets all tickets; none of them is ever issued again.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}
