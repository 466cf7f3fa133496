//! The index's looks at the workloads of what runs: at each turn, and a last time when a sweep has ended.
//!
//! In: the pods and the guards' answers that are known, the Sweeps that run. Out: harm, to breakers; what was seen, to
//! the Sweeps' verdicts and, where it is not good, to their status. Must never: tell of a harm before another leader would know of its breaker.

use std::collections::BTreeSet;
use std::time::Duration;

use super::decide::Circumstances;
use super::entry::Entry;
use super::guards::{Guards, Standing};
use super::index::Index;
use super::key::SweepKey;
use super::neighbours::{Neighbour, Pods, Unread};
use super::observation::{GUARD_UNKNOWN, Observation, Seen, Swept};
use super::rules::Rules;
use super::step::Step;
use crate::breaker::Sign;
use crate::report::Health;

impl Index {
    /// A watch of a namespace's pods begins: before this, whatever is told of them is not kept.
    pub fn expect_pods(&mut self, namespace: &str) {
        self.neighbours.expect(namespace);
    }

    /// The pods of all namespaces but these are watched no more.
    pub fn forget_pods_but(&mut self, watched: impl Fn(&str) -> bool) {
        self.neighbours.forget_but(watched);
    }

    /// Whether what the watch of a namespace's pods told holds; else why not.
    pub fn hold_pods(&mut self, namespace: &str, holds: Result<(), String>) {
        self.neighbours.hold(namespace, holds);
    }

    /// All pods of a namespace. `None`: one that cannot be taken in.
    pub fn list_pods(&mut self, namespace: &str, pods: impl IntoIterator<Item = Option<Neighbour>>) {
        self.neighbours.list(namespace, pods);
    }

    /// A pod as it was read; `None`: one that cannot be taken in. Whether that says anything new.
    pub fn put_pod(&mut self, namespace: &str, pod: Option<Neighbour>) -> bool {
        self.neighbours.put(namespace, pod)
    }

    /// A pod is gone. Whether it was known.
    pub fn remove_pod(&mut self, namespace: &str, uid: &str) -> bool {
        self.neighbours.remove(namespace, uid)
    }

    /// How many pods of a namespace are kept, and how many were left out.
    pub fn count_pods(&self, namespace: &str) -> (usize, usize) {
        self.neighbours.count(namespace)
    }

    /// Looks at the workloads of what runs and of what has just ended; harm opens breakers at once.
    pub(super) fn look_at_workloads(&mut self, circumstances: &Circumstances) {
        let ended: BTreeSet<_> = self.ended.iter().cloned().collect();
        let swept = self.swept(&ended);
        let mut credited = BTreeSet::new();
        let mut harms = Vec::new();
        for (key, entry) in &mut self.sweeps {
            if !entry.phase.is_running() && !ended.contains(key) {
                continue;
            }
            let pods = self.neighbours.read(entry.namespace());
            let rules = self.rules.get(&entry.policy);
            let guarded = rules.is_some_and(|rules| !rules.guards.is_empty());
            let mut new = look(entry, pods, &swept, guarded, &mut credited);
            if let Some(rules) = rules {
                new.extend(ask(entry, &self.guards, rules, circumstances.now));
            }
            close(entry);
            harms.extend(new.into_iter().map(|seen| (key.clone(), seen)));
        }
        for (key, seen) in harms {
            self.hear_of_harm_beside(&key, &seen, circumstances);
        }
    }

    /// What agents watch themselves.
    fn swept(&self, ended: &BTreeSet<SweepKey>) -> Swept {
        let mut swept = Swept::new();
        for (key, entry) in &self.sweeps {
            if entry.phase.is_running() || ended.contains(key) {
                swept.entry(entry.pod_uid.clone()).or_default().insert(entry.container.clone());
            }
        }
        swept
    }

    /// What was seen and no status says: harm once its breaker is on the API server, the unknown at once.
    pub(super) fn tell(&self, steps: &mut Vec<Step>) {
        let untold = self.sweeps.iter().filter_map(|(key, entry)| Some((key, entry, entry.untold()?)));
        let known = untold.filter(|(_, entry, seen)| {
            seen.health != Health::Harmed || self.circuits.is_saved(&entry.workload)
        });
        steps.extend(known.map(|(key, _, seen)| Step::Tell {
            sweep: key.clone(),
            health: seen.health,
            reason: seen.reason.clone(),
            message: seen.message.clone(),
        }));
    }
}

/// One look for one sweep. The harms that are new.
fn look(
    entry: &mut Entry,
    pods: Result<&Pods, Unread>,
    swept: &Swept,
    guarded: bool,
    credited: &mut BTreeSet<String>,
) -> Vec<Seen> {
    let (ended, touched) = (entry.phase.is_ended(), entry.has_touched());
    if ended && !touched {
        entry.observation = None;
        return Vec::new();
    }
    let begun = entry.observation.take();
    let workload = entry.owner();
    let (observation, new) = match (pods, begun) {
        (Ok(pods), begun) => {
            let resume = || {
                let mut observation = Observation::resume(pods, workload, entry.others.as_deref());
                if guarded {
                    observation.miss(
                        GUARD_UNKNOWN,
                        "another coordinator leads now, and its guards were not asked in between",
                    );
                }
                Box::new(observation)
            };
            let mut observation = begun.unwrap_or_else(resume);
            let new = if touched {
                observation.look(pods, workload, swept, credited)
            } else {
                observation.meet(pods, workload);
                Vec::new()
            };
            (Some(observation), new)
        }
        // Another leader's, who may find that nothing has happened when the pods are listed.
        (Err(_), None) if !ended => (None, Vec::new()),
        (Err(unread), begun) => {
            let mut observation = begun.unwrap_or_default();
            observation.miss(Sign::NotWatched.as_str(), &why(unread));
            (Some(observation), Vec::new())
        }
    };
    entry.observation = observation;
    new
}

/// What the guards say, for one sweep. Those that fail, where that is new.
fn ask(entry: &mut Entry, guards: &Guards, rules: &Rules, now: Duration) -> Vec<Seen> {
    let (ended, touched) = (entry.phase.is_ended(), entry.has_touched());
    let policy = entry.policy.clone();
    let Some(observation) = &mut entry.observation else { return Vec::new() };
    let standing = guards.standing(&policy, rules, now);
    if let (true, Standing::Fails(guard, why)) = (touched, &standing) {
        return observation.fail(guard, why).into_iter().collect();
    }
    // Between two questions one answer may be lost; at the end it must be known.
    let unheard = match standing {
        _ if !ended => guards.silent(&policy, rules, now),
        Standing::Unknown(guard, why) => Some((guard, why)),
        Standing::NotYet => Some(("a guard".to_owned(), "it was not asked in time".to_owned())),
        Standing::Hold | Standing::Fails(..) => None,
    };
    if let Some((guard, why)) = unheard {
        observation.miss(GUARD_UNKNOWN, &format!("whether {guard} held is not known: {why}"));
    }
    Vec::new()
}

fn close(entry: &mut Entry) {
    if let (true, Some(observation)) = (entry.phase.is_ended(), &mut entry.observation) {
        observation.close();
    }
}

fn why(unread: Unread) -> String {
    let why = match unread {
        Unread::NotYet => "they were not listed in time".to_owned(),
        Unread::Because(why) => why,
    };
    format!("the other pods of its workload could not be watched: {why}")
}
