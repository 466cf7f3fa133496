//! The node's own word: its switch, its allow and deny lists. Level 1; no policy can overrule it. Pure.

use super::{NameError, NameGlob, Pattern, PatternError, Reason, Refusal};
use crate::config::{Config, Lists, Switch};
use crate::inventory::Container;

/// The node's configuration, as far as it says no.
#[derive(Debug, Clone)]
pub struct NodeGuard {
    sweeps: Switch,
    allow: CompiledLists,
    deny: CompiledLists,
    never: Vec<String>,
}

/// A list that cannot be used; loading the configuration says so with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// A glob over a name.
    #[error("{0:?} {1}")]
    Name(String, NameError),
    /// A glob over a path.
    #[error("{0:?} {1}")]
    Path(String, PatternError),
}

#[derive(Debug, Clone)]
struct CompiledLists {
    namespaces: Vec<NameGlob>,
    images: Vec<NameGlob>,
    cgroups: Vec<Pattern>,
}

impl NodeGuard {
    /// Compiles the node's lists.
    pub fn new(config: &Config) -> Result<Self, GuardError> {
        paths(&config.never, Pattern::anywhere)?;
        Ok(Self {
            sweeps: config.sweeps,
            allow: CompiledLists::new(&config.allow)?,
            deny: CompiledLists::new(&config.deny)?,
            never: config.never.clone(),
        })
    }

    /// Whether this node lets the container be swept at all.
    pub fn allows(&self, container: &Container) -> Result<(), Refusal> {
        self.switched_on()?;
        if let Some(list) = self.deny.any_line_that_names(container) {
            return refuse(Reason::Denied, format!("the node's config denies it by `deny.{list}`"));
        }
        if let Some(list) = self.allow.first_line_without(container) {
            return refuse(
                Reason::NotAllowed,
                format!("the node's config allows only what `allow.{list}` names"),
            );
        }
        Ok(())
    }

    /// The node's global switch.
    pub fn switched_on(&self) -> Result<(), Refusal> {
        match self.sweeps {
            Switch::Enabled => Ok(()),
            Switch::Disabled => {
                refuse(Reason::NodeDisabled, "the node's config says `sweeps: Disabled`".into())
            }
        }
    }

    /// Globs of paths that no policy may name; every scan gets them.
    pub fn never(&self) -> &[String] {
        &self.never
    }
}

fn refuse(reason: Reason, message: String) -> Result<(), Refusal> {
    Err(Refusal::new(reason, message))
}

impl CompiledLists {
    fn new(lists: &Lists) -> Result<Self, GuardError> {
        Ok(Self {
            namespaces: names(&lists.namespaces)?,
            images: names(&lists.images)?,
            cgroups: paths(&lists.cgroups, Pattern::absolute)?,
        })
    }

    /// Deny: one line that matches is enough.
    fn any_line_that_names(&self, container: &Container) -> Option<&'static str> {
        self.lines(container)
            .into_iter()
            .find(|(_, is_given, matched)| *is_given && *matched)
            .map(|line| line.0)
    }

    /// Allow: every line that is given must match.
    fn first_line_without(&self, container: &Container) -> Option<&'static str> {
        self.lines(container)
            .into_iter()
            .find(|(_, is_given, matched)| *is_given && !*matched)
            .map(|line| line.0)
    }

    fn lines(&self, container: &Container) -> [(&'static str, bool, bool); 3] {
        let named = |globs: &[NameGlob], name: &Option<String>| {
            name.as_ref().is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
        };
        let path = container.cgroup_path.as_bytes();
        let in_cgroups = self.cgroups.iter().any(|pattern| pattern.matches(path));
        [
            ("namespaces", !self.namespaces.is_empty(), named(&self.namespaces, &container.names.namespace)),
            ("images", !self.images.is_empty(), named(&self.images, &container.names.image)),
            ("cgroups", !self.cgroups.is_empty(), in_cgroups),
        ]
    }
}

fn names(texts: &[String]) -> Result<Vec<NameGlob>, GuardError> {
    texts
        .iter()
        .map(|text| NameGlob::new(text).map_err(|error| GuardError::Name(text.clone(), error)))
        .collect()
}

fn paths(
    texts: &[String],
    compile: impl Fn(&str) -> Result<Pattern, PatternError>,
) -> Result<Vec<Pattern>, GuardError> {
    texts.iter().map(|text| compile(text).map_err(|error| GuardError::Path(text.clone(), error))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::fixtures::container;

    fn reason(config: &str) -> Option<String> {
        let config = Config::parse(config, Path::new("c.yaml")).unwrap();
        let verdict = NodeGuard::new(&config).unwrap().allows(&container());
        verdict.err().map(|refusal| {
            assert_eq!(refusal.level, 1);
            refusal.reason
        })
    }

    #[test]
    fn an_empty_config_allows() {
        assert_eq!(reason(""), None);
    }

    #[test]
    fn the_switch_beats_the_lists() {
        assert_eq!(reason("sweeps: Disabled").as_deref(), Some("NodeDisabled"));
        assert_eq!(reason("{sweeps: Disabled, deny: {images: ['*']}}").as_deref(), Some("NodeDisabled"));
    }

    #[test]
    fn deny_beats_allow_and_one_line_is_enough() {
        let config = "{allow: {namespaces: ['prod-*']}, deny: {images: ['*/billing:*'], namespaces: [x]}}";
        assert_eq!(reason(config).as_deref(), Some("Denied"));
        assert_eq!(reason("{deny: {namespaces: [x]}}"), None);
    }

    #[test]
    fn allow_needs_every_line() {
        assert_eq!(reason("{allow: {namespaces: ['prod-*'], images: ['*/billing:*']}}"), None);
        let config = "{allow: {namespaces: ['prod-*'], images: ['*/other:*']}}";
        assert_eq!(reason(config).as_deref(), Some("NotAllowed"));
        assert_eq!(reason("{allow: {cgroups: ['/system.slice/**']}}").as_deref(), Some("NotAllowed"));
    }
}
