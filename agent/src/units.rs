//! Durations, quantities and percentages, read and written as Kubernetes writes them. Pure.
//!
//! In: text such as `1h30m`, `20Mi`, `15%`. Out: [`Span`], [`Bytes`], [`Percent`], whose `Display` reads back to the
//! same value. Must never: accept a number whose unit it would have to guess.

mod bytes;
mod percent;
mod schema;
mod span;
mod text;

pub use bytes::Bytes;
pub use percent::Percent;
pub use span::Span;

/// Text that is not a value of its unit. `Display` says what was wrong and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a {unit}; {remedy}")]
pub struct UnitError {
    /// The text, cut to its first [`UnitError::SHOWN`] characters.
    found: String,
    /// What it should have been: `duration`, `quantity of bytes`, `percentage`.
    unit: &'static str,
    /// How to write it.
    remedy: &'static str,
}

impl UnitError {
    /// Characters of a wrong value that an error shows: enough to find it, too few to flood a log.
    const SHOWN: usize = 40;

    fn new(found: &str, unit: &'static str, remedy: &'static str) -> Self {
        Self { found: found.chars().take(Self::SHOWN).collect(), unit, remedy }
    }
}
