//! A label whose values come from outside (names of policies, of programs): bounded.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What stands for every value beyond the bound.
pub(super) const OTHER: &str = "other";

/// Lets the first so many distinct values through.
#[derive(Debug)]
pub(super) struct Label {
    limit: usize,
    seen: Mutex<BTreeSet<String>>,
}

impl Label {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, seen: Mutex::default() }
    }

    /// The value, or [`OTHER`].
    pub(super) fn bound<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= self.limit {
            return OTHER;
        }
        seen.insert(value.to_owned());
        value
    }
}
