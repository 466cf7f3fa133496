//! Pods of the namespaces in which something is swept. Pure.
//!
//! In: pods as a watch tells them, and whether what it told still holds. Out: the pods of a namespace, or why they are
//! not known; what one of them has suffered between two looks. Must never: answer for a namespace of which a pod was
//! left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::breaker::{Finding, PodSigns, Sign};
use crate::kubernetes::{Pod, labels};

/// Pods of one namespace that are kept, some 300 bytes each. Kubernetes itself is tested with 3,000
/// (<https://github.com/kubernetes/community/blob/master/sig-scalability/configs-and-limits/thresholds.md>).
pub const MAX_PODS: usize = 10_000;

/// A pod, cut down to what shows how it fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// As its cgroups have it, and Sweeps.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its workload, as `Deployment/cart`.
    pub workload: String,
    /// The kubelet has thrown it out.
    pub evicted: bool,
    /// Somebody has deleted it.
    pub leaving: bool,
    /// How each of its containers fares, by name.
    pub containers: BTreeMap<String, PodSigns>,
}

impl Neighbour {
    /// Of a pod as the API shows it.
    pub fn of(pod: &Pod) -> Self {
        let signs = pod.containers.iter().map(|container| {
            let signs = PodSigns {
                restarts: container.restarts,
                oom_killed: container.oom_killed,
                failed_at: container.failed_at,
                ready: container.ready,
                // Of the pod as a whole, and said there.
                evicted: false,
                leaving: false,
            };
            (container.name.clone(), signs)
        });
        Self {
            uid: pod.cgroup_uid.clone(),
            name: pod.name.clone(),
            workload: pod.workload.clone(),
            evicted: pod.evicted,
            leaving: pod.leaving,
            containers: signs.collect(),
        }
    }

    /// The first harm since `before`. `swept`: those of its containers that an agent watches. A pod that somebody
    /// deletes ends as it should, whatever its containers show.
    pub(super) fn harm_since(&self, before: &Self, swept: &BTreeSet<String>) -> Option<Finding> {
        if self.evicted && !before.evicted {
            // Of a pod that is swept its agent tells that.
            let others = swept.is_empty();
            return others
                .then(|| Finding::new(Sign::Evicted, format!("pod {}: the kubelet evicted it", self.name)));
        }
        if self.leaving {
            return None;
        }
        let mut others = self.containers.iter().filter(|(name, _)| !swept.contains(*name));
        others.find_map(|(name, now)| {
            let found = PodSigns::harm(*before.containers.get(name)?, *now)?;
            let message = format!("pod {}, container {name}: {}", self.name, found.message);
            Some(Finding { message, ..found })
        })
    }
}

/// Pods by uid.
pub(super) type Pods = BTreeMap<String, Arc<Neighbour>>;

/// Why the pods of a namespace are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// They are being listed.
    NotYet,
    /// They cannot be.
    Because(String),
}

/// One namespace.
#[derive(Debug, Default)]
struct Table {
    pods: Pods,
    left_out: usize,
    /// `None`: the first list is on its way.
    holds: Option<Result<(), String>>,
}

/// All namespaces that are watched. Bounded by whoever watches them.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<String, Table>);

impl Neighbours {
    /// A watch of this namespace begins.
    pub(super) fn expect(&mut self, namespace: &str) {
        self.0.entry(namespace.to_owned()).or_default();
    }

    /// All namespaces but these are watched no more.
    pub(super) fn forget_but(&mut self, watched: impl Fn(&str) -> bool) {
        self.0.retain(|namespace, _| watched(namespace));
    }

    /// Whether what its watch told holds.
    pub(super) fn hold(&mut self, namespace: &str, holds: Result<(), String>) {
        self.0.entry(namespace.to_owned()).or_default().holds = Some(holds);
    }

    /// All its pods, in place of those that were. `None`: one that cannot be taken in.
    pub(super) fn list(&mut self, namespace: &str, pods: impl IntoIterator<Item = Option<Neighbour>>) {
        let Some(table) = self.0.get_mut(namespace) else { return };
        (table.left_out, table.pods) = (0, Pods::new());
        for pod in pods {
            table.put(pod);
        }
    }

    /// One of its pods. Whether that says anything new.
    pub(super) fn put(&mut self, namespace: &str, pod: Option<Neighbour>) -> bool {
        self.0.get_mut(namespace).is_some_and(|table| table.put(pod))
    }

    /// One of its pods is gone. Whether it was known.
    pub(super) fn remove(&mut self, namespace: &str, uid: &str) -> bool {
        self.0.get_mut(namespace).is_some_and(|table| table.pods.remove(uid).is_some())
    }

    /// How many pods of it are kept, and how many were left out.
    pub(super) fn count(&self, namespace: &str) -> (usize, usize) {
        self.0.get(namespace).map_or((0, 0), |table| (table.pods.len(), table.left_out))
    }

    /// Its pods.
    pub(super) fn read(&self, namespace: &str) -> Result<&Pods, Unread> {
        let table = self.0.get(namespace).ok_or(Unread::NotYet)?;
        match &table.holds {
            None => Err(Unread::NotYet),
            Some(Err(why)) => Err(Unread::Because(why.clone())),
            Some(Ok(())) if table.left_out > 0 => {
                let why = format!("namespace {namespace} has more pods than the {MAX_PODS} that are kept");
                Err(Unread::Because(why))
            }
            Some(Ok(())) => Ok(&table.pods),
        }
    }
}

impl Table {
    fn put(&mut self, pod: Option<Neighbour>) -> bool {
        let room = self.pods.len() < MAX_PODS;
        match pod {
            Some(pod) if room || self.pods.contains_key(&pod.uid) => {
                let known = self.pods.get(&pod.uid).is_some_and(|known| **known == pod);
                if !known {
                    self.pods.insert(pod.uid.clone(), Arc::new(pod));
                }
                !known
            }
            _ => {
                self.left_out += 1;
                true
            }
        }
    }
}

/// The pods of one workload.
pub(super) fn of_workload(pods: &Pods, workload: &str) -> Pods {
    let of_it = pods.iter().filter(|(_, pod)| pod.workload == workload);
    of_it.map(|(uid, pod)| (uid.clone(), Arc::clone(pod))).collect()
}

/// How pods fare, as a word that differs where one of them fares otherwise, came or went: by it another leader sees
/// whether anything has happened since. Those on their way out do not count.
pub(super) fn digest(pods: &Pods) -> String {
    let mut text = String::new();
    for (uid, pod) in pods.iter().filter(|(_, pod)| !pod.leaving) {
        // Writing into a String does not fail.
        let _ = writeln!(text, "{uid} {} {:?}", pod.evicted, pod.containers);
    }
    labels::hash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Neighbour {
        let signs = PodSigns { ready: Some(true), ..PodSigns::default() };
        Neighbour {
            uid: format!("uid-{name}"),
            name: name.into(),
            workload: "Deployment/cart".into(),
            evicted: false,
            leaving: false,
            containers: [("app".to_owned(), signs), ("proxy".to_owned(), signs)].into(),
        }
    }

    fn with(change: impl FnOnce(&mut PodSigns)) -> Neighbour {
        let mut pod = pod("a");
        if let Some(app) = pod.containers.get_mut("app") {
            change(app);
        }
        pod
    }

    fn sign(now: &Neighbour) -> Option<Sign> {
        now.harm_since(&pod("a"), &BTreeSet::new()).map(|found| found.sign)
    }

    #[test]
    fn each_harm_of_another_pod_has_its_sign_and_names_it() {
        assert_eq!(sign(&pod("a")), None);
        assert_eq!(sign(&with(|app| app.restarts = 1)), Some(Sign::Restarted));
        assert_eq!(sign(&with(|app| (app.restarts, app.oom_killed) = (1, true))), Some(Sign::OomKilled(1)));
        assert_eq!(sign(&with(|app| app.failed_at = Some(9))), Some(Sign::Gone));
        assert_eq!(
            sign(&with(|app| (app.failed_at, app.oom_killed) = (Some(9), true))),
            Some(Sign::OomKilled(1))
        );
        assert_eq!(sign(&with(|app| app.ready = Some(false))), Some(Sign::NotReady));
        let evicted = Neighbour { evicted: true, leaving: true, ..pod("a") };
        assert_eq!(sign(&evicted), Some(Sign::Evicted));
        let found = with(|app| app.ready = Some(false)).harm_since(&pod("a"), &BTreeSet::new()).unwrap();
        assert!(found.message.starts_with("pod a, container app: it is not ready"), "{}", found.message);
    }

    #[test]
    fn a_pod_that_somebody_deletes_ends_as_it_should() {
        let leaving = |pod| Neighbour { leaving: true, ..pod };
        assert_eq!(sign(&leaving(with(|app| app.ready = Some(false)))), None);
        assert_eq!(sign(&leaving(with(|app| app.failed_at = Some(9)))), None);
    }

    #[test]
    fn what_was_so_before_is_no_harm() {
        let before = with(|app| (app.restarts, app.ready, app.failed_at) = (7, Some(false), Some(1)));
        assert_eq!(before.harm_since(&before, &BTreeSet::new()), None);
        let evicted = Neighbour { evicted: true, ..pod("a") };
        assert_eq!(evicted.harm_since(&evicted, &BTreeSet::new()), None);
    }

    #[test]
    fn of_a_swept_pod_the_other_containers_count() {
        let swept = BTreeSet::from(["app".to_owned()]);
        let harmed = with(|app| app.restarts = 1);
        assert_eq!(harmed.harm_since(&pod("a"), &swept), None, "its agent tells that");
        let mut harmed = pod("a");
        harmed.containers.get_mut("proxy").into_iter().for_each(|proxy| proxy.restarts = 1);
        assert!(harmed.harm_since(&pod("a"), &swept).unwrap().message.contains("container proxy"));
        let evicted = Neighbour { evicted: true, ..pod("a") };
        assert_eq!(evicted.harm_since(&pod("a"), &swept), None, "its agent tells that, too");
    }

    #[test]
    fn nothing_is_known_before_the_first_list_while_cut_off_or_where_one_was_left_out() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.read("shop"), Err(Unread::NotYet));
        neighbours.expect("shop");
        neighbours.list("shop", [Some(pod("a"))]);
        assert_eq!(neighbours.read("shop"), Err(Unread::NotYet), "nobody says that it holds");
        neighbours.hold("shop", Ok(()));
        assert_eq!(neighbours.read("shop").map(BTreeMap::len), Ok(1));
        neighbours.hold("shop", Err("cut off".into()));
        assert_eq!(neighbours.read("shop"), Err(Unread::Because("cut off".into())));
        neighbours.hold("shop", Ok(()));
        neighbours.put("shop", None);
        assert!(matches!(neighbours.read("shop"), Err(Unread::Because(_))), "one cannot be read");
        neighbours.list("shop", (0..=MAX_PODS).map(|number| Some(pod(&number.to_string()))));
        assert_eq!(neighbours.count("shop"), (MAX_PODS, 1));
        assert!(matches!(neighbours.read("shop"), Err(Unread::Because(_))), "too many");
    }

    #[test]
    fn only_what_differs_is_news() {
        let mut neighbours = Neighbours::default();
        assert!(!neighbours.put("shop", Some(pod("a"))), "nobody watches it");
        neighbours.expect("shop");
        assert!(neighbours.put("shop", Some(pod("a"))));
        assert!(!neighbours.put("shop", Some(pod("a"))));
        assert!(neighbours.put("shop", Some(with(|app| app.restarts = 1))));
        assert!(neighbours.remove("shop", "uid-a") && !neighbours.remove("shop", "uid-a"));
    }

    #[test]
    fn the_digest_differs_with_every_sign_and_not_with_what_leaves() {
        let of = |pods: Vec<Neighbour>| {
            digest(&pods.into_iter().map(|pod| (pod.uid.clone(), Arc::new(pod))).collect())
        };
        let before = of(vec![pod("a"), pod("b")]);
        assert_eq!(of(vec![pod("b"), pod("a")]), before);
        assert_ne!(of(vec![with(|app| app.restarts = 1), pod("b")]), before);
        assert_ne!(of(vec![pod("a"), pod("b"), pod("c")]), before);
        assert_eq!(of(vec![pod("a"), pod("b"), Neighbour { leaving: true, ..pod("c") }]), before);
    }
}
