//! What a cell computes: operations on sums, and the sum that comes out.
//!
//! Many cells compute the same. An identity only renames what it reads, and an operation that
//! nothing of the input reaches, or that does not reach the output, changes nothing. Without those
//! the benchmark's 15,625 cells are a third as many programs.

use crate::cell::{Cell, EDGES, EdgeOperation};

/// Values to be added; a value may occur more than once. The sum of none is zero.
pub(crate) type Sum = Vec<Value>;

/// A value within a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// What the cell reads.
    Input,
    /// The result of the operation at this position.
    Result(usize),
}

/// An operation on a sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) operation: EdgeOperation,
    pub(crate) reads: Sum,
}

/// The operations of a cell, each after those that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) applications: Vec<Application>,
    pub(crate) output: Sum,
}

/// A value, by what is computed alone: equal for two convolutions of one sum.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    /// Operations one after another, at most; before what they are, so that a term comes after all
    /// that it is made of.
    depth: usize,
    operation: Option<EdgeOperation>,
    reads: Vec<Term>,
}

impl Program {
    /// All that is written on the cell's edges, in their order. The benchmark has it all: it counts
    /// the parameters of operations that lead nowhere.
    pub(crate) fn written(cell: &Cell) -> Self {
        Self::of(cell, false)
    }

    /// What changes the output, in an order that hangs on what is computed and not on how the cell is
    /// written, but for operations that are the same of the same sum.
    pub(crate) fn simplified(cell: &Cell) -> Self {
        Self::of(cell, true).without_unread().in_order()
    }

    /// The operations on edges; to simplify, without those that read nothing or pass on what they
    /// read.
    fn of(cell: &Cell, simplify: bool) -> Self {
        let mut applications = Vec::new();
        let mut sums: [Sum; 4] = Default::default();
        sums[0] = vec![Value::Input];
        for ((from, to), operation) in EDGES.into_iter().zip(cell.0) {
            let reads = sums[from].clone();
            match operation {
                EdgeOperation::None => {}
                _ if simplify && reads.is_empty() => {}
                EdgeOperation::SkipConnect if simplify => sums[to].extend(reads),
                _ => {
                    sums[to].push(Value::Result(applications.len()));
                    applications.push(Application { operation, reads });
                }
            }
        }
        let [.., output] = sums;
        Self { applications, output }
    }

    /// Without operations whose results reach no output.
    fn without_unread(self) -> Self {
        let mut read = vec![false; self.applications.len()];
        let mark = |read: &mut Vec<bool>, sum: &Sum| {
            for value in sum {
                if let Value::Result(at) = *value {
                    read[at] = true;
                }
            }
        };
        mark(&mut read, &self.output);
        for (at, application) in self.applications.iter().enumerate().rev() {
            if read[at] {
                mark(&mut read, &application.reads);
            }
        }
        let order = (0..read.len()).filter(|&at| read[at]).collect();
        self.arranged(order)
    }

    /// The operations in the order of their terms, and the values of each sum as well.
    fn in_order(self) -> Self {
        let mut terms: Vec<Term> = Vec::new();
        for Application { operation, reads } in &self.applications {
            let term = |value: &Value| match *value {
                Value::Input => Term { depth: 0, operation: None, reads: Vec::new() },
                Value::Result(at) => terms[at].clone(),
            };
            let mut reads: Vec<Term> = reads.iter().map(term).collect();
            reads.sort();
            let depth = 1 + reads.iter().map(|term| term.depth).max().unwrap_or(0);
            terms.push(Term { depth, operation: Some(*operation), reads });
        }
        let mut order: Vec<usize> = (0..terms.len()).collect();
        order.sort_by(|&one, &other| terms[one].cmp(&terms[other]));
        self.arranged(order)
    }

    /// The operations at the positions of `order` alone, in that order, with sums in order.
    fn arranged(self, order: Vec<usize>) -> Self {
        let place = |at: usize| order.iter().position(|&known| known == at);
        let sum = |values: &Sum| {
            let mut places: Vec<Option<usize>> = values
                .iter()
                .map(|value| match *value {
                    Value::Input => None,
                    Value::Result(at) => Some(place(at).expect("what is read is kept")),
                })
                .collect();
            places.sort_unstable();
            let value = |place: Option<usize>| place.map_or(Value::Input, Value::Result);
            places.into_iter().map(value).collect()
        };
        let application = |&at: &usize| {
            let Application { operation, reads } = &self.applications[at];
            Application { operation: *operation, reads: sum(reads) }
        };
        Self { applications: order.iter().map(application).collect(), output: sum(&self.output) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::enumerate::{SIZE, cell_at};
    use crate::notation::parse;

    fn simplified(cell: &str) -> String {
        let Program { applications, output } = Program::simplified(&parse(cell).unwrap());
        let value = |value: &Value| match *value {
            Value::Input => "x".into(),
            Value::Result(at) => at.to_string(),
        };
        let sum = |sum: &Sum| sum.iter().map(value).collect::<Vec<String>>().join("+");
        let application = |application: &Application| {
            format!("{}({}) ", application.operation.name(), sum(&application.reads))
        };
        applications.iter().map(application).collect::<String>() + &sum(&output)
    }

    #[test]
    fn what_changes_nothing_is_left_out() {
        for (cell, program) in [
            // Nothing reads the second node, and nothing comes into the third.
            ("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|", "x"),
            // The second node is the input, so that both convolutions read the input.
            (
                "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|skip_connect~2|",
                "nor_conv_1x1(x) nor_conv_3x3(x) 0+1",
            ),
            // Nothing reaches the output.
            ("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|none~1|none~2|", ""),
            // A result that comes in twice is computed once, and two convolutions stay two.
            (
                "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|",
                "nor_conv_3x3(x) 0+0",
            ),
            (
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|skip_connect~2|",
                "nor_conv_3x3(x) nor_conv_3x3(x) 0+1",
            ),
            // The best cell of the table: its identity is a summand.
            (
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
                "nor_conv_3x3(x) nor_conv_3x3(x) nor_conv_3x3(0) nor_conv_3x3(0) nor_conv_1x1(1+2) x+3+4",
            ),
        ] {
            assert_eq!(simplified(cell), program, "{cell}");
        }
    }

    #[test]
    fn cells_are_a_third_as_many_programs() {
        let programs: BTreeSet<String> =
            (0..SIZE).map(|index| simplified(&cell_at(index).to_string())).collect();
        assert_eq!(programs.len(), 5515);
    }
}
