//! Globs over names that are no paths: namespaces, images, workloads, containers. Pure.
//!
//! `*` crosses a `/` here, unlike in paths: how many there are in an image reference depends on the registry, and a
//! deny list that `docker.io/library/postgres` slips through protects nothing.

use globset::{GlobBuilder, GlobMatcher};

/// A name glob that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty.
    #[error("is empty and matches nothing; remove it")]
    Empty,
    /// Glob syntax.
    #[error("is no glob: {0}; escape special characters with \\")]
    Syntax(String),
}

/// One glob over a name.
#[derive(Debug, Clone)]
pub struct NameGlob(GlobMatcher);

impl NameGlob {
    /// Compiles it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(false)
            // As in paths: `postgres{,-ha}` is also postgres.
            .empty_alternates(true)
            .build()
            .map_err(|error| NameError::Syntax(error.kind().to_string()))?;
        Ok(Self(glob.compile_matcher()))
    }

    /// Whether it matches the whole name. Case matters.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_crosses_the_slashes_of_an_image_reference() {
        let postgres = NameGlob::new("*/postgres:*").unwrap();
        assert!(postgres.matches("docker.io/library/postgres:16"));
        assert!(!postgres.matches("postgres:16"));
        assert!(!NameGlob::new("prod-*").unwrap().matches("PROD-a"));
    }

    #[test]
    fn an_empty_alternative_is_one() {
        assert!(NameGlob::new("*/postgres{,-ha}:*").unwrap().matches("docker.io/library/postgres:16"));
    }

    #[test]
    fn unusable_globs_are_refused() {
        assert_eq!(NameGlob::new("").unwrap_err(), NameError::Empty);
        assert!(matches!(NameGlob::new("[a"), Err(NameError::Syntax(_))));
    }
}
