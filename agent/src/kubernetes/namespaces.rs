//! The namespaces of the cluster, with their owners' word on sweeping. Pure.
//!
//! In: metadata of namespaces. Out: an [`Annotation`] for each that is known. Must never: take one that is not known
//! for one without an annotation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;

use super::annotation::Annotation;
use super::view::Collection;

/// Most namespaces. Kubernetes itself is tested with 10,000:
/// <https://github.com/kubernetes/community/blob/master/sig-scalability/configs-and-limits/thresholds.md>.
pub const MAX_NAMESPACES: usize = 16_384;

/// The namespaces of the cluster.
#[derive(Debug, Default)]
pub struct Namespaces {
    by_name: BTreeMap<String, Annotation>,
    left_out: usize,
}

impl Namespaces {
    /// What this one's annotation says; `None` where the namespace is not known.
    pub fn get(&self, name: &str) -> Option<&Annotation> {
        self.by_name.get(name)
    }
}

impl Collection for Namespaces {
    type Object = PartialObjectMeta<Namespace>;
    const RESOURCE: &'static str = "namespaces";
    const LIMIT: &'static str = "kubernetes_namespaces";

    fn replace(&mut self, all: Vec<Self::Object>) {
        *self = Self::default();
        for namespace in all {
            self.put(namespace);
        }
    }

    fn put(&mut self, namespace: Self::Object) {
        let annotation = Annotation::of(namespace.metadata.annotations.as_ref());
        let Some(name) = namespace.metadata.name else { return };
        if self.has_room() || self.by_name.contains_key(&name) {
            self.by_name.insert(name, annotation);
        } else {
            self.left_out += 1;
        }
    }

    fn remove(&mut self, namespace: &Self::Object) {
        if let Some(name) = &namespace.metadata.name {
            self.by_name.remove(name);
        }
    }

    fn count(&self) -> usize {
        self.by_name.len()
    }

    fn left_out(&self) -> usize {
        self.left_out
    }

    fn has_room(&self) -> bool {
        self.by_name.len() < MAX_NAMESPACES
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(name: &str, value: Option<&str>) -> PartialObjectMeta<Namespace> {
        let annotations = value.map(|value| json!({"podsweep.io/sweep": value}));
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn the_last_word_counts_and_what_is_not_known_has_none() {
        let mut namespaces = Namespaces::default();
        namespaces.replace(vec![namespace("a", None), namespace("b", Some("Disabled"))]);
        assert_eq!(namespaces.get("a"), Some(&Annotation::Absent));
        assert_eq!(namespaces.get("b"), Some(&Annotation::Disabled));
        assert_eq!(namespaces.get("c"), None);
        namespaces.put(namespace("a", Some("Disabled")));
        assert_eq!(namespaces.get("a"), Some(&Annotation::Disabled));
        namespaces.remove(&namespace("a", None));
        assert_eq!(namespaces.get("a"), None);
        namespaces.replace(vec![namespace("c", None)]);
        assert_eq!((namespaces.count(), namespaces.get("b")), (1, None));
    }

    #[test]
    fn more_than_the_bound_are_left_out() {
        let all = |number| (0..number).map(|n| namespace(&format!("n{n}"), None)).collect();
        let mut namespaces = Namespaces::default();
        namespaces.replace(all(MAX_NAMESPACES + 2));
        assert_eq!((namespaces.count(), namespaces.left_out()), (MAX_NAMESPACES, 2));
        namespaces.replace(all(1));
        assert_eq!(namespaces.left_out(), 0);
    }
}
