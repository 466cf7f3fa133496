//! What is wrong with a policy whose fields all have the right type. Pure.
//!
//! In: a [`SweepPolicy`]. Out: every [`Problem`], by field. Must never: let through a policy that names more than its
//! author can have meant.

mod guards;
mod junk;
mod settings;
mod triggers;

use super::{NameGlob, Pattern, Select, SweepPolicy};
use crate::document::{Problem, Problems};

/// The only version there is.
const API_VERSION: &str = "podsweep.io/v1alpha1";
const KIND: &str = "SweepPolicy";
/// Length of a DNS label (RFC 1123): names become labels of metrics and, in a cluster, of objects.
const MAX_NAME: usize = 63;
/// Items of one list: far above any real policy, and few enough to match against every container.
const MAX_ITEMS: usize = 256;

/// Every problem of a policy; empty: it may be used.
pub fn validate(policy: &SweepPolicy) -> Vec<Problem> {
    let mut problems = Problems::default();
    header(policy, &mut problems);
    select(&policy.spec.select, &mut problems);
    triggers::check(&policy.spec, &mut problems);
    junk::check(&policy.spec, &mut problems);
    settings::check(&policy.spec, &mut problems);
    guards::check(&policy.spec.rollout.guards, &mut problems);
    problems.into_vec()
}

fn header(policy: &SweepPolicy, problems: &mut Problems) {
    if policy.api_version != API_VERSION {
        problems.add("apiVersion", format!("{:?} is not known; write {API_VERSION}", policy.api_version));
    }
    if policy.kind != KIND {
        problems.add("kind", format!("{:?} is not known; write {KIND}", policy.kind));
    }
    name("metadata.name", &policy.metadata.name, problems);
}

/// A DNS label (RFC 1123).
fn name(field: &str, name: &str, problems: &mut Problems) {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !is_label {
        let shown: String = name.chars().take(MAX_NAME).collect();
        let message =
            format!("{shown:?} is no name; use 1 to {MAX_NAME} of a-z, 0-9 and -, no - at either end");
        problems.add(field, message);
    }
}

fn select(select: &Select, problems: &mut Problems) {
    if *select == Select::default() {
        problems.add(
            "spec.select",
            "is empty and would mean every container; write at least one line, e.g. images",
        );
    }
    for (field, globs) in [
        ("spec.select.namespaces", &select.namespaces),
        ("spec.select.workloads", &select.workloads),
        ("spec.select.containers", &select.containers),
        ("spec.select.images", &select.images),
    ] {
        few(field, globs.len(), problems);
        problems.each(field, globs, NameGlob::new);
    }
    few("spec.select.cgroups", select.cgroups.len(), problems);
    problems.each("spec.select.cgroups", &select.cgroups, Pattern::absolute);
    few("spec.select.podLabels", select.pod_labels.len(), problems);
    expressions(select, problems);
}

fn expressions(select: &Select, problems: &mut Problems) {
    use super::LabelOperator::{DoesNotExist, Exists, In, NotIn};
    few("spec.select.podExpressions", select.pod_expressions.len(), problems);
    for (index, expression) in select.pod_expressions.iter().enumerate() {
        let field = format!("spec.select.podExpressions[{index}].values");
        let wants_values = matches!(expression.operator, In | NotIn);
        let takes_none = matches!(expression.operator, Exists | DoesNotExist);
        if wants_values && expression.values.is_empty() {
            problems.add(field, "is empty; In and NotIn compare with at least one value");
        } else if takes_none && !expression.values.is_empty() {
            problems.add(field, "is not used by Exists and DoesNotExist; remove it");
        }
    }
}

fn few(field: &str, count: usize, problems: &mut Problems) {
    if count > MAX_ITEMS {
        problems.add(field, format!("has {count} items; at most {MAX_ITEMS}: use globs, or another policy"));
    }
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
