//! The policies of a node, and which of them acts on a container. Pure.

use std::sync::Arc;

use super::select::{SelectError, Selector};
use super::{Reason, Refusal, SweepPolicy};
use crate::inventory::Container;

/// All policies of a node, their selectors compiled.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    policies: Vec<Arc<SweepPolicy>>,
    /// One for each of `policies`, in the same order.
    selectors: Vec<Selector>,
}

/// Which policy acts on a container.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// None is for it.
    None,
    /// This one.
    One(Arc<SweepPolicy>),
    /// These have the same, highest priority: nobody acts until a person decides.
    Conflict(Vec<Arc<SweepPolicy>>),
}

impl PolicySet {
    /// Compiles the selectors; the first bad one is the error (and was refused by validation before).
    pub fn new(policies: Vec<Arc<SweepPolicy>>) -> Result<Self, SelectError> {
        let selectors =
            policies.iter().map(|policy| Selector::new(&policy.spec.select)).collect::<Result<_, _>>()?;
        Ok(Self { policies, selectors })
    }

    /// The policies, in the order of their files.
    pub fn policies(&self) -> &[Arc<SweepPolicy>] {
        &self.policies
    }

    /// The policy of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<SweepPolicy>> {
        self.policies.iter().find(|policy| policy.metadata.name == name)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Each policy with the line of its `select` that does not match, if one does not.
    pub(crate) fn matching<'a>(
        &'a self,
        container: &'a Container,
    ) -> impl Iterator<Item = (&'a Arc<SweepPolicy>, Result<(), &'static str>)> {
        self.policies
            .iter()
            .zip(&self.selectors)
            .map(|(policy, selector)| (policy, selector.matches(container)))
    }
}

/// The policy with the highest priority of those that select the container.
pub fn choose(set: &PolicySet, container: &Container) -> Choice {
    let matching = set.matching(container).filter(|(_, matched)| matched.is_ok()).map(|(policy, _)| policy);
    let mut highest: Vec<Arc<SweepPolicy>> = Vec::new();
    for policy in matching {
        let best = highest.first().map_or(i32::MIN, |first| first.spec.priority);
        if policy.spec.priority > best {
            highest.clear();
        }
        if policy.spec.priority >= best {
            highest.push(Arc::clone(policy));
        }
    }
    match (highest.pop(), highest.is_empty()) {
        (None, _) => Choice::None,
        (Some(only), true) => Choice::One(only),
        (Some(last), false) => {
            highest.push(last);
            Choice::Conflict(highest)
        }
    }
}

impl Choice {
    /// The policy that acts, or level 4's "no".
    pub fn policy(&self) -> Result<&Arc<SweepPolicy>, Refusal> {
        match self {
            Self::One(policy) => Ok(policy),
            Self::None => Err(Refusal::new(
                Reason::NoPolicy,
                "no policy selects this container; write one whose select matches it",
            )),
            Self::Conflict(policies) => {
                let names: Vec<&str> = policies.iter().map(|policy| policy.metadata.name.as_str()).collect();
                let message = format!(
                    "policies {} select this container with the same priority; raise the priority of one",
                    names.join(", ")
                );
                Err(Refusal::new(Reason::Conflict, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::{container, policy};

    fn chosen(policies: &[Arc<SweepPolicy>]) -> Result<String, String> {
        let set = PolicySet::new(policies.to_vec()).unwrap();
        let choice = choose(&set, &container());
        choice.policy().map(|policy| policy.metadata.name.clone()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_highest_priority_acts_in_any_order() {
        let low = policy("low", "  priority: -1");
        let high = policy("high", "  priority: 5");
        let middle = policy("middle", "");
        assert_eq!(chosen(&[low.clone(), high.clone(), middle.clone()]), Ok("high".into()));
        assert_eq!(chosen(&[middle, low, high]), Ok("high".into()));
    }

    #[test]
    fn a_tie_is_a_conflict_that_names_all() {
        let message = chosen(&[policy("a", ""), policy("b", ""), policy("c", "  priority: -1")]).unwrap_err();
        assert!(message.starts_with("policies a, b select"), "{message}");
        assert_eq!(chosen(&[policy("a", ""), policy("b", ""), policy("c", "  priority: 1")]), Ok("c".into()));
    }

    #[test]
    fn who_is_not_selected_has_no_policy() {
        let mut other = container();
        other.names.container = Some("sidecar".into());
        let set = PolicySet::new(vec![policy("a", "")]).unwrap();
        assert_eq!(choose(&set, &other), Choice::None);
    }
}
