//! What is wrong with a value that was read well: bounds, syntax, contradictions. Pure.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// One thing wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As `spec.junk[0].olderThan`.
    pub field: String,
    /// What is wrong; what to do.
    pub message: String,
}

/// Collects problems while a value is checked.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { field: field.into(), message: message.into() });
    }

    /// Adds one unless the value is within bounds. `reason` says why there are bounds.
    pub fn within<T: PartialOrd + Display>(
        &mut self,
        field: impl Into<String>,
        value: &T,
        bounds: RangeInclusive<T>,
        reason: &str,
    ) {
        if !bounds.contains(value) {
            let (low, high) = bounds.into_inner();
            self.add(field, format!("{value} is out of bounds: {reason}; write {low} to {high}"));
        }
    }

    /// Adds one for each text of a list that cannot be used; the error says why not and what to do.
    pub fn each<T, E: Display>(
        &mut self,
        field: &str,
        texts: &[String],
        check: impl Fn(&str) -> Result<T, E>,
    ) {
        for (index, text) in texts.iter().enumerate() {
            if let Err(error) = check(text) {
                self.add(format!("{field}[{index}]"), format!("{text:?} {error}"));
            }
        }
    }

    /// All of them, in the order in which they were added.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
