//! Which containers a policy is for. Pure.
//!
//! In: a policy's `select`, a container's names. Out: whether every line given matches, or the first that does not.
//! Must never: let a container match a line about a name that it does not have, not even one that says `NotIn`.

use super::{LabelExpression, LabelOperator, NameError, NameGlob, Pattern, PatternError, Select};
use crate::inventory::{Container, Names};

/// A `select` that cannot be used; validation says so with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A glob over a name.
    #[error("{0:?} {1}")]
    Name(String, NameError),
    /// A glob over a cgroup path.
    #[error("{0:?} {1}")]
    Cgroup(String, PatternError),
}

/// A `select`, ready to match.
#[derive(Debug, Clone)]
pub struct Selector {
    select: Select,
    namespaces: Vec<NameGlob>,
    workloads: Vec<NameGlob>,
    containers: Vec<NameGlob>,
    images: Vec<NameGlob>,
    cgroups: Vec<Pattern>,
}

impl Selector {
    /// Compiles every glob.
    pub fn new(select: &Select) -> Result<Self, SelectError> {
        Ok(Self {
            namespaces: names(&select.namespaces)?,
            workloads: names(&select.workloads)?,
            containers: names(&select.containers)?,
            images: names(&select.images)?,
            cgroups: cgroups(&select.cgroups)?,
            select: select.clone(),
        })
    }

    /// `Err` is the first line that did not match, as the policy writes it. A line that is not given matches; a
    /// `select` without any line matches nothing.
    pub fn matches(&self, container: &Container) -> Result<(), &'static str> {
        self.matches_names(&container.names, &container.cgroup_path)
    }

    /// As [`Self::matches`], of what is known by its names alone.
    pub fn matches_names(&self, names: &Names, cgroup_path: &str) -> Result<(), &'static str> {
        if self.select == Select::default() {
            return Err("select");
        }
        let lines = [
            ("namespaces", one_of(&self.namespaces, names.namespace.as_deref())),
            ("podLabels", labels(&self.select, names)),
            ("podExpressions", expressions(&self.select, names)),
            ("workloads", one_of(&self.workloads, names.workload.as_deref())),
            ("containers", one_of(&self.containers, names.container.as_deref())),
            ("images", one_of(&self.images, names.image.as_deref())),
            ("cgroups", self.cgroup(cgroup_path)),
        ];
        lines.into_iter().find(|(_, matched)| !matched).map_or(Ok(()), |(line, _)| Err(line))
    }

    fn cgroup(&self, path: &str) -> bool {
        self.cgroups.is_empty() || self.cgroups.iter().any(|pattern| pattern.matches(path.as_bytes()))
    }
}

fn labels(select: &Select, names: &Names) -> bool {
    let required = &select.pod_labels;
    required.is_empty()
        || names.pod.is_some() && required.iter().all(|(key, value)| names.labels.get(key) == Some(value))
}

fn expressions(select: &Select, names: &Names) -> bool {
    let required = &select.pod_expressions;
    required.is_empty()
        || names.pod.is_some()
            && required.iter().all(|expression| holds(expression, names.labels.get(&expression.key)))
}

/// Matches once; who matches often keeps a [`Selector`].
pub fn matches(select: &Select, container: &Container) -> Result<(), &'static str> {
    Selector::new(select).map_err(|_| "select")?.matches(container)
}

fn one_of(globs: &[NameGlob], name: Option<&str>) -> bool {
    globs.is_empty() || name.is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
}

fn holds(expression: &LabelExpression, value: Option<&String>) -> bool {
    let listed = value.is_some_and(|value| expression.values.contains(value));
    match expression.operator {
        LabelOperator::In => listed,
        LabelOperator::NotIn => !listed,
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    }
}

fn names(texts: &[String]) -> Result<Vec<NameGlob>, SelectError> {
    texts
        .iter()
        .map(|text| NameGlob::new(text).map_err(|error| SelectError::Name(text.clone(), error)))
        .collect()
}

fn cgroups(texts: &[String]) -> Result<Vec<Pattern>, SelectError> {
    texts
        .iter()
        .map(|text| Pattern::absolute(text).map_err(|error| SelectError::Cgroup(text.clone(), error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::container;

    fn select(yaml: &str) -> Select {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn every_line_given_must_match() {
        let pod = container();
        for (yaml, expected) in [
            ("{namespaces: [prod-*], images: ['*/billing:*']}", Ok(())),
            ("{namespaces: [test-*, prod-*]}", Ok(())),
            ("{namespaces: [test-*], images: ['*/billing:*']}", Err("namespaces")),
            ("{images: ['billing:*']}", Err("images")),
            ("{workloads: ['Deployment/bill*'], containers: [app]}", Ok(())),
            ("{containers: [sidecar]}", Err("containers")),
            ("{podLabels: {app: billing}}", Ok(())),
            ("{podLabels: {app: billing, tier: x}}", Err("podLabels")),
            ("{cgroups: ['/kubepods.slice/**']}", Ok(())),
            ("{cgroups: ['/kubepods.slice/*']}", Err("cgroups")),
        ] {
            assert_eq!(matches(&select(yaml), &pod), expected, "{yaml}");
        }
    }

    #[test]
    fn expressions_compare_as_kubernetes_does() {
        let pod = container();
        for (expression, matched) in [
            ("{key: app, operator: In, values: [billing]}", true),
            ("{key: app, operator: NotIn, values: [billing]}", false),
            ("{key: none, operator: NotIn, values: [x]}", true),
            ("{key: app, operator: Exists}", true),
            ("{key: app, operator: DoesNotExist}", false),
        ] {
            let select = select(&format!("{{podExpressions: [{expression}]}}"));
            assert_eq!(matches(&select, &pod).is_ok(), matched, "{expression}");
        }
    }

    #[test]
    fn who_lacks_a_name_does_not_match_a_line_about_it() {
        let mut unit = container();
        unit.names = crate::inventory::Names::default();
        for yaml in [
            "{namespaces: ['*']}",
            "{images: ['*']}",
            "{workloads: ['*']}",
            "{containers: ['*']}",
            "{podExpressions: [{key: a, operator: DoesNotExist}]}",
            "{podExpressions: [{key: a, operator: NotIn, values: [b]}]}",
        ] {
            assert!(matches(&select(yaml), &unit).is_err(), "{yaml}");
        }
    }

    #[test]
    fn an_empty_select_matches_nothing() {
        assert_eq!(matches(&Select::default(), &container()), Err("select"));
    }
}
