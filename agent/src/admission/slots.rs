//! Which sweeps run, and whether one more may. Pure.

use std::collections::BTreeMap;

use super::Request;
use crate::policy::{Reason, Refusal, SerialBy};

/// Names one sweep that runs.
pub(super) type Ticket = u64;

/// The sweeps that run. Bounded by its slots.
#[derive(Debug)]
pub(super) struct Slots {
    limit: u32,
    running: BTreeMap<Ticket, Request>,
    last_ticket: Ticket,
}

impl Slots {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, running: BTreeMap::new(), last_ticket: 0 }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn take(&mut self, request: &Request) -> Result<Ticket, Refusal> {
        self.judge(request)?;
        self.last_ticket += 1;
        self.running.insert(self.last_ticket, request.clone());
        Ok(self.last_ticket)
    }

    pub(super) fn give_back(&mut self, ticket: Ticket) {
        self.running.remove(&ticket);
    }

    pub(super) fn judge(&self, request: &Request) -> Result<(), Refusal> {
        if self.running.len() >= self.limit as usize {
            let message = format!("all {} slots of this node are taken; it asks again", self.limit);
            return Err(Refusal::new(Reason::NoSlot, message));
        }
        let of_policy = self.running.values().filter(|other| other.policy == request.policy).count();
        if of_policy >= request.max_parallel as usize {
            let message = format!(
                "{of_policy} sweeps of policy {} run and its maxParallel is {}",
                request.policy, request.max_parallel
            );
            return Err(Refusal::new(Reason::MaxParallel, message));
        }
        self.running.values().find_map(|other| related(request, other)).map_or(Ok(()), |dimension| {
            Err(Refusal::new(
                reason(dimension),
                format!("a sweep of the same {} runs (serialBy)", word(dimension)),
            ))
        })
    }
}

// A dimension holds between two sweeps whose policies both name it: who leaves it out agrees to run beside others.
fn related(one: &Request, other: &Request) -> Option<SerialBy> {
    one.serial_by
        .iter()
        .copied()
        .find(|dimension| other.serial_by.contains(dimension) && same(*dimension, one, other))
}

fn same(dimension: SerialBy, one: &Request, other: &Request) -> bool {
    match dimension {
        SerialBy::Workload => one.workload == other.workload,
        SerialBy::Namespace => one.namespace.is_some() && one.namespace == other.namespace,
        // Everything here is on this node, and so in its zone.
        SerialBy::Node | SerialBy::Zone => true,
    }
}

const fn reason(dimension: SerialBy) -> Reason {
    match dimension {
        SerialBy::Workload => Reason::SerialWorkload,
        SerialBy::Namespace => Reason::SerialNamespace,
        SerialBy::Node => Reason::SerialNode,
        SerialBy::Zone => Reason::SerialZone,
    }
}

const fn word(dimension: SerialBy) -> &'static str {
    match dimension {
        SerialBy::Workload => "workload",
        SerialBy::Namespace => "namespace",
        SerialBy::Node => "node",
        SerialBy::Zone => "zone",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn request(policy: &str, workload: &str, serial_by: &[SerialBy]) -> Request {
        Request {
            policy: policy.into(),
            workload: workload.into(),
            namespace: Some("shop".into()),
            max_parallel: 2,
            serial_by: serial_by.to_vec(),
            time: Duration::ZERO,
        }
    }

    fn reason_of(slots: &mut Slots, request: &Request) -> Option<String> {
        slots.take(request).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn no_more_than_the_slots() {
        let mut slots = Slots::new(1);
        let ticket = slots.take(&request("p", "a", &[])).unwrap();
        assert_eq!(reason_of(&mut slots, &request("q", "b", &[])).as_deref(), Some("NoSlot"));
        slots.give_back(ticket);
        assert_eq!(reason_of(&mut slots, &request("q", "b", &[])), None);
    }

    #[test]
    fn no_more_of_a_policy_than_it_says() {
        let mut slots = Slots::new(9);
        slots.take(&request("p", "a", &[])).unwrap();
        slots.take(&request("p", "b", &[])).unwrap();
        assert_eq!(reason_of(&mut slots, &request("p", "c", &[])).as_deref(), Some("MaxParallel"));
        assert_eq!(reason_of(&mut slots, &request("q", "c", &[])), None);
    }

    #[test]
    fn each_dimension_holds_between_those_that_name_it() {
        for (dimension, other_workload, expected) in [
            (SerialBy::Workload, "a", Some("SerialWorkload")),
            (SerialBy::Workload, "b", None),
            (SerialBy::Namespace, "b", Some("SerialNamespace")),
            (SerialBy::Node, "b", Some("SerialNode")),
            (SerialBy::Zone, "b", Some("SerialZone")),
        ] {
            let mut slots = Slots::new(9);
            slots.take(&request("p", "a", &[dimension])).unwrap();
            let second = request("q", other_workload, &[dimension]);
            assert_eq!(reason_of(&mut slots, &second).as_deref(), expected, "{dimension:?}");
            assert_eq!(reason_of(&mut slots, &request("r", "a", &[])), None, "{dimension:?}");
        }
    }

    #[test]
    fn containers_without_a_namespace_do_not_share_one() {
        let mut slots = Slots::new(9);
        let without = Request { namespace: None, ..request("p", "a", &[SerialBy::Namespace]) };
        slots.take(&without).unwrap();
        assert_eq!(reason_of(&mut slots, &without), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_the_cap_holds(limit in 0u32..4, steps in prop::collection::vec((any::<bool>(), 0u8..3), 0..60)) {
            let mut slots = Slots::new(limit);
            let mut held = Vec::new();
            for (take, policy) in steps {
                if take {
                    held.extend(slots.take(&request(&policy.to_string(), "a", &[])).ok());
                } else if let Some(ticket) = held.pop() {
                    slots.give_back(ticket);
                }
                prop_assert_eq!(slots.running(), held.len());
                prop_assert!(held.len() <= limit as usize);
            }
        }
    }
}
