//! SweepPolicy objects, as the [`PolicySet`] that files give. Pure.
//!
//! In: objects as they are written, right or wrong. Out: the whole set, or every error in it, once after each change.
//! Must never: hand on a set of which one object is bad: without that one, another policy might act in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::view::Collection;
use crate::document::{Fault, FileError};
use crate::policy::files::MAX_FILES;
use crate::policy::{PolicyError, PolicySet, SweepPolicy, parse};

/// Most objects kept; a cluster with more policies than [`MAX_FILES`] has an error, not a choice of them.
const MAX_KEPT: usize = 2 * MAX_FILES;

/// The SweepPolicy objects of the cluster.
#[derive(Debug, Default)]
pub struct Policies {
    /// The policy part of each, by name, as JSON: bad ones, too. Bounded by the API server, 1.5 MiB each
    /// (etcd's limit).
    by_name: BTreeMap<String, String>,
    left_out: usize,
    listed: bool,
    changed: bool,
}

impl Policies {
    /// `None`: as it was, or not listed yet. `Some(Err)`: whoever asks keeps the policies that it has.
    pub fn poll(&mut self) -> Option<Result<PolicySet, Vec<PolicyError>>> {
        if !self.listed || !std::mem::take(&mut self.changed) {
            return None;
        }
        Some(self.read())
    }

    fn read(&self) -> Result<PolicySet, Vec<PolicyError>> {
        let count = self.by_name.len() + self.left_out;
        if count > MAX_FILES {
            return Err(vec![unusable(format!("are {count}, more than {MAX_FILES}; merge some"))]);
        }
        let read: Vec<_> = self.by_name.iter().map(|(name, text)| policy(name, text)).collect();
        let (good, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
        let errors: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let policies = good.into_iter().flatten().map(Arc::new).collect();
        PolicySet::new(policies).map_err(|error| vec![unusable(format!("have a select that fails: {error}"))])
    }
}

/// Reads one as a file is read: the same words for the same mistakes. A place in it is a field, not a line.
fn policy(name: &str, text: &str) -> Result<SweepPolicy, PolicyError> {
    parse(text, Path::new(&format!("sweeppolicies/{name}"))).map_err(|error| match error {
        FileError::Invalid { path, faults } => {
            let faults = faults.into_iter().map(|fault| Fault { line: 0, column: 0, ..fault }).collect();
            FileError::Invalid { path, faults }
        }
        other => other,
    })
}

fn unusable(problem: String) -> PolicyError {
    FileError::Unusable { path: PathBuf::from("sweeppolicies"), problem }
}

/// What a policy file would have of it. The API server knows the type by its path, so lists leave it out.
fn as_file(object: &DynamicObject) -> Option<(String, String)> {
    let name = object.metadata.name.clone()?;
    let spec = object.data.get("spec").cloned().unwrap_or(Value::Null);
    let file = json!({
        "apiVersion": "podsweep.io/v1alpha1",
        "kind": "SweepPolicy",
        "metadata": {"name": name},
        "spec": spec,
    });
    Some((name, file.to_string()))
}

impl Collection for Policies {
    type Object = DynamicObject;
    const RESOURCE: &'static str = "sweeppolicies";
    const LIMIT: &'static str = "kubernetes_policies";

    fn replace(&mut self, all: Vec<DynamicObject>) {
        let before = std::mem::take(&mut self.by_name);
        let (was_listed, was_left_out) = (self.listed, self.left_out);
        (self.listed, self.left_out) = (true, 0);
        // A list after a cut that changed nothing is no news.
        let changed = self.changed;
        for object in all {
            self.put(object);
        }
        let differs = !was_listed || before != self.by_name || was_left_out != self.left_out;
        self.changed = changed || differs;
    }

    fn put(&mut self, object: DynamicObject) {
        let Some((name, file)) = as_file(&object) else { return };
        if self.has_room() || self.by_name.contains_key(&name) {
            // A new status alone changes nothing.
            self.changed |= self.by_name.insert(name, file.clone()) != Some(file);
        } else {
            self.left_out += 1;
            self.changed = true;
        }
    }

    fn remove(&mut self, object: &DynamicObject) {
        if let Some(name) = &object.metadata.name {
            self.changed |= self.by_name.remove(name).is_some();
        }
    }

    fn count(&self) -> usize {
        self.by_name.len()
    }

    fn left_out(&self) -> usize {
        self.left_out
    }

    fn has_room(&self) -> bool {
        self.by_name.len() < MAX_KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, spec: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "podsweep.io/v1alpha1", "kind": "SweepPolicy",
            "metadata": {"name": name, "uid": "u", "resourceVersion": "7", "managedFields": []},
            "spec": spec,
            "status": {"observedGeneration": 1},
        }))
        .unwrap()
    }

    fn good(path: &str) -> Value {
        json!({"select": {"images": ["x"]}, "junk": [{"name": "a", "paths": [path]}]})
    }

    fn names(set: &PolicySet) -> Vec<&str> {
        set.policies().iter().map(|policy| policy.metadata.name.as_str()).collect()
    }

    #[test]
    fn nothing_is_said_before_the_first_list_and_an_empty_one_is_a_set() {
        let mut policies = Policies::default();
        assert!(policies.poll().is_none());
        policies.replace(vec![]);
        assert!(policies.poll().unwrap().unwrap().is_empty());
        assert!(policies.poll().is_none());
    }

    #[test]
    fn objects_give_what_files_give() {
        let mut policies = Policies::default();
        policies.replace(vec![object("b", &good("/tmp/x")), object("a", &good("/tmp/x"))]);
        let set = policies.poll().unwrap().unwrap();
        assert_eq!(names(&set), ["a", "b"]);
        let file = "{apiVersion: podsweep.io/v1alpha1, kind: SweepPolicy, metadata: {name: a}, \
                    spec: {select: {images: [x]}, junk: [{name: a, paths: [/tmp/x]}]}}";
        assert_eq!(**set.named("a").unwrap(), parse(file, Path::new("f")).unwrap());
    }

    #[test]
    fn a_change_is_told_once_and_a_new_status_is_none() {
        let mut policies = Policies::default();
        policies.replace(vec![object("a", &good("/tmp/x"))]);
        policies.poll();
        policies.put(object("a", &good("/tmp/x")));
        assert!(policies.poll().is_none());
        policies.replace(vec![object("a", &good("/tmp/x"))]);
        assert!(policies.poll().is_none());
        policies.put(object("a", &good("/tmp/y")));
        assert!(policies.poll().unwrap().is_ok());
        policies.remove(&object("a", &good("/tmp/y")));
        assert!(policies.poll().unwrap().unwrap().is_empty());
    }

    #[test]
    fn one_bad_object_refuses_the_whole_set_and_all_bad_ones_are_named_by_field() {
        let mut policies = Policies::default();
        let broad = json!({"select": {"images": ["x"]}, "junk": [{"name": "a", "paths": ["/**"]}]});
        let unknown = json!({"select": {"images": ["x"]}, "junks": []});
        policies.replace(vec![
            object("good", &good("/tmp/x")),
            object("broad", &broad),
            object("unknown", &unknown),
            object("empty", &Value::Null),
            object("dotted.name", &good("/tmp/x")),
        ]);
        let errors = policies.poll().unwrap().unwrap_err();
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown[0].starts_with("sweeppolicies/broad: spec.junk[0].paths[0]: "), "{shown:?}");
        assert!(shown[1].starts_with("sweeppolicies/dotted.name: metadata.name: "), "{shown:?}");
        assert!(shown[2].starts_with("sweeppolicies/empty: "), "{shown:?}");
        assert!(shown[3].starts_with("sweeppolicies/unknown: spec.junks: "), "{shown:?}");
        assert!(policies.poll().is_none());
    }

    #[test]
    fn too_many_are_an_error_until_some_are_gone() {
        let all = |number| (0..number).map(|n| object(&format!("p{n}"), &good("/tmp/x"))).collect();
        let mut policies = Policies::default();
        policies.replace(all(MAX_KEPT + 1));
        let errors = policies.poll().unwrap().unwrap_err();
        assert_eq!(errors[0].to_string(), "sweeppolicies: are 513, more than 256; merge some");
        policies.replace(all(MAX_FILES));
        assert_eq!(policies.poll().unwrap().unwrap().len(), MAX_FILES);
    }
}
