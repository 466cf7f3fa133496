//! The pods of this node, by the uid that their cgroups have. Pure.
//!
//! In: pods as a watch tells them. Out: the pod and the container that a cgroup belongs to; which pods were touched
//! since somebody last asked. Must never: keep more than [`MAX_PODS`]; what finds no room is unknown, and so never
//! swept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as Whole;

use super::pod::Pod;
use super::view::Collection;

/// Most pods of a node. A kubelet's default is 110, the largest in use some 500.
pub const MAX_PODS: usize = 1024;

/// Uids of touched pods that wait to be asked for; past it all count as touched.
const MAX_TOUCHED: usize = 4 * MAX_PODS;

/// The pods of this node.
#[derive(Debug, Default)]
pub struct Pods {
    by_uid: BTreeMap<String, Arc<Pod>>,
    left_out: BTreeSet<String>,
    touched: Touched,
}

/// Pods that came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// These, by the uid of their cgroups.
    Some(BTreeSet<String>),
    /// Nobody kept count.
    All,
}

impl Default for Touched {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Touched {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(uids) if uids.is_empty())
    }

    /// Whether this one was.
    pub fn has(&self, uid: &str) -> bool {
        match self {
            Self::Some(uids) => uids.contains(uid),
            Self::All => true,
        }
    }

    fn add(&mut self, uid: String) {
        if let Self::Some(uids) = self {
            uids.insert(uid);
            if uids.len() > MAX_TOUCHED {
                *self = Self::All;
            }
        }
    }
}

impl Pods {
    /// The pod whose cgroups have this uid.
    pub fn get(&self, cgroup_uid: &str) -> Option<&Arc<Pod>> {
        self.by_uid.get(cgroup_uid)
    }

    /// Which were touched since this was last asked.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    fn keep(&mut self, pod: Pod) {
        let uid = pod.cgroup_uid.clone();
        if self.by_uid.get(&uid).is_some_and(|before| **before == pod) {
            return;
        }
        if self.by_uid.len() >= MAX_PODS && !self.by_uid.contains_key(&uid) {
            self.leave_out(uid);
            return;
        }
        self.left_out.remove(&uid);
        self.by_uid.insert(uid.clone(), Arc::new(pod));
        self.touched.add(uid);
    }

    fn forget(&mut self, uid: &str) {
        self.left_out.remove(uid);
        if self.by_uid.remove(uid).is_some() {
            self.touched.add(uid.to_owned());
        }
    }

    fn leave_out(&mut self, uid: String) {
        if self.left_out.len() < MAX_PODS {
            self.left_out.insert(uid);
        }
    }
}

impl Collection for Pods {
    type Object = Whole;
    const RESOURCE: &'static str = "pods";
    const LIMIT: &'static str = "kubernetes_pods";

    fn replace(&mut self, all: Vec<Whole>) {
        self.left_out.clear();
        let pods: Vec<Pod> = all.iter().filter_map(Pod::of).collect();
        let listed: BTreeSet<&str> = pods.iter().map(|pod| pod.cgroup_uid.as_str()).collect();
        let gone: Vec<String> =
            self.by_uid.keys().filter(|uid| !listed.contains(uid.as_str())).cloned().collect();
        for uid in gone {
            self.forget(&uid);
        }
        for pod in pods {
            self.keep(pod);
        }
    }

    fn put(&mut self, object: Whole) {
        match Pod::of(&object) {
            Some(pod) => self.keep(pod),
            // It has outgrown the bounds: what was known of it holds no more.
            None => self.remove(&object),
        }
    }

    fn remove(&mut self, object: &Whole) {
        let uid = object.metadata.uid.as_deref();
        let known = self.by_uid.values().find(|pod| Some(pod.uid.as_str()) == uid);
        let Some(uid) = known.map(|pod| pod.cgroup_uid.clone()).or_else(|| uid.map(str::to_owned)) else {
            return;
        };
        self.forget(&uid);
    }

    fn count(&self) -> usize {
        self.by_uid.len()
    }

    fn left_out(&self) -> usize {
        self.left_out.len()
    }

    fn has_room(&self) -> bool {
        self.by_uid.len() < MAX_PODS
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::fixtures::{UID, cart, static_pod};

    fn whole(value: serde_json::Value) -> Whole {
        serde_json::from_value(value).unwrap()
    }

    fn numbered(number: usize) -> Whole {
        let mut pod = cart();
        pod["metadata"]["uid"] = json!(format!("uid-{number}"));
        whole(pod)
    }

    #[test]
    fn a_pod_is_touched_when_it_comes_changes_and_goes() {
        let mut pods = Pods::default();
        let touched = || Touched::Some(BTreeSet::from([UID.to_owned()]));
        pods.put(whole(cart()));
        assert_eq!(pods.take_touched(), touched());
        pods.put(whole(cart()));
        assert!(pods.take_touched().is_empty());
        let mut labelled = cart();
        labelled["metadata"]["labels"]["tier"] = json!("x");
        pods.put(whole(labelled));
        assert_eq!(pods.take_touched(), touched());
        pods.remove(&whole(cart()));
        assert_eq!(pods.take_touched(), touched());
        assert_eq!((pods.count(), pods.get(UID)), (0, None));
    }

    #[test]
    fn a_list_replaces_what_was_and_touches_only_what_differs() {
        let mut pods = Pods::default();
        pods.replace(vec![whole(cart()), numbered(1)]);
        pods.take_touched();
        pods.replace(vec![whole(cart()), numbered(2)]);
        let differing = BTreeSet::from(["uid-1".to_owned(), "uid-2".to_owned()]);
        assert_eq!(pods.take_touched(), Touched::Some(differing));
        assert!(pods.get(UID).is_some() && pods.get("uid-1").is_none());
    }

    #[test]
    fn a_static_pod_is_found_and_forgotten_by_its_hash() {
        let mut pods = Pods::default();
        pods.put(whole(static_pod()));
        assert!(pods.get("0123456789abcdef0123456789abcdef").is_some());
        pods.remove(&whole(static_pod()));
        assert_eq!(pods.count(), 0);
    }

    #[test]
    fn more_than_the_bound_are_left_out_and_wanted_again_when_there_is_room() {
        let mut pods = Pods::default();
        pods.replace((0..MAX_PODS + 3).map(numbered).collect());
        assert_eq!((pods.count(), pods.left_out(), pods.has_room()), (MAX_PODS, 3, false));
        pods.remove(&numbered(0));
        assert_eq!((pods.left_out(), pods.has_room()), (3, true));
        pods.replace((1..=MAX_PODS).map(numbered).collect());
        assert_eq!((pods.count(), pods.left_out()), (MAX_PODS, 0));
    }

    #[test]
    fn a_pod_that_outgrows_the_bounds_is_not_known_any_more() {
        let mut pods = Pods::default();
        pods.put(whole(cart()));
        let mut grown = cart();
        let labels = (0..200).map(|number| (format!("l{number}"), json!("x"))).collect();
        grown["metadata"]["labels"] = serde_json::Value::Object(labels);
        pods.put(whole(grown));
        assert_eq!(pods.get(UID), None);
    }

    #[test]
    fn nobody_asking_does_not_fill_the_memory() {
        let mut pods = Pods::default();
        for number in 0..=MAX_TOUCHED {
            pods.put(numbered(number));
            pods.remove(&numbered(number));
        }
        assert_eq!(pods.take_touched(), Touched::All);
        assert!(pods.take_touched().is_empty());
    }
}
