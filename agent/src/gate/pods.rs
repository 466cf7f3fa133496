//! Levels 2 and 3: what the Kubernetes API says of a container's namespace and pod. Asked only on a node of a cluster.
//!
//! In: a container; what the watches told of it. Out: answers on the chain, ending with the first no. Must never: let
//! a container through that the API does not name, or by news that may be old.

use std::sync::Arc;

use crate::config::{Config, QosClass};
use crate::inventory::Container;
use crate::kubernetes::{Index, Known, Membership, Pod};
use crate::policy::chain::Chain;
use crate::policy::{Reason, Refusal};

/// What levels 2 and 3 know.
pub(super) struct Pods {
    index: Arc<Index>,
    protected: Vec<QosClass>,
}

impl Pods {
    /// `None` on a host by itself. `index`: what the agent's watches fill; where nobody watches, it is empty, and then
    /// every container of a node of a cluster is refused.
    pub(super) fn new(config: &Config, index: Option<Arc<Index>>) -> Option<Self> {
        let protected = config.kubernetes.as_ref()?.protect_qos.clone();
        Some(Self { index: index.unwrap_or_default(), protected })
    }

    /// Asks both levels.
    pub(super) fn hear(&self, container: &Container, chain: &mut Chain) -> Result<(), Refusal> {
        judge(&self.index.of(container), &self.protected, chain)
    }
}

fn judge(known: &Known, protected: &[QosClass], chain: &mut Chain) -> Result<(), Refusal> {
    namespace(known, chain)?;
    let place = match known.membership {
        Membership::NoPod => Err(no(
            Reason::NotInAPod,
            "its cgroup is in no pod, and a sweep of a cluster is an object beside its pod: never swept here",
        )),
        _ => Ok(()),
    };
    chain.hear(3, "is it in a pod?", "yes", place)?;
    let holds = known.stale.as_ref().map_or(Ok(()), |stale| {
        Err(no(Reason::ApiStale, format!("what the Kubernetes API told may be old ({stale})")))
    });
    chain.hear(3, "does what the Kubernetes API told still hold?", "yes", holds)?;
    let pod = pod(&known.membership);
    let well = pod.as_ref().map_or_else(|_| String::new(), |pod| format!("yes, in {}", name(pod)));
    chain.hear(3, "does the Kubernetes API know it?", &well, pod.as_ref().map(drop).map_err(Clone::clone))?;
    let pod = pod?;
    let said = pod.annotation.allows();
    let well = said.clone().unwrap_or_default();
    let said = said.map(drop).map_err(|says| no(Reason::PodDisabled, format!("pod {}: {says}", name(pod))));
    chain.hear(3, "does its pod's annotation let it be swept?", well, said)?;
    let well = pod.qos.map_or("no", QosClass::as_str);
    chain.hear(
        3,
        "is its QoS class one that the node's config leaves alone?",
        &format!("no ({well})"),
        qos(pod, protected),
    )
}

fn namespace(known: &Known, chain: &mut Chain) -> Result<(), Refusal> {
    const QUESTION: &str = "does its namespace's annotation let it be swept?";
    let Some(annotation) = &known.namespace else {
        let Some(pod) = known.membership.pod() else {
            chain.goes_on(2, QUESTION, "its namespace is not known");
            return Ok(());
        };
        let message = format!("the Kubernetes API has not told of namespace {}", pod.namespace);
        return chain.hear(2, QUESTION, "", Err(no(Reason::NamespaceUnknown, message)));
    };
    let said = annotation.allows();
    let well = said.clone().unwrap_or_default();
    let said = said.map(drop).map_err(|says| no(Reason::NamespaceDisabled, format!("its namespace: {says}")));
    chain.hear(2, QUESTION, well, said)
}

fn pod(membership: &Membership) -> Result<&Pod, Refusal> {
    match membership {
        Membership::Member(pod) => Ok(pod),
        Membership::ContainerUnknown(pod) => Err(no(
            Reason::PodUnknown,
            format!("the Kubernetes API does not name it among the containers of {}", name(pod)),
        )),
        Membership::Static(pod) => Err(no(
            Reason::StaticPod,
            format!("{} is a static pod: the API has only a copy of it", name(pod)),
        )),
        Membership::PodUnknown | Membership::NoPod => {
            Err(no(Reason::PodUnknown, "the Kubernetes API does not show its pod on this node"))
        }
    }
}

fn qos(pod: &Pod, protected: &[QosClass]) -> Result<(), Refusal> {
    let message = match pod.qos {
        _ if protected.is_empty() => return Ok(()),
        None => format!("the Kubernetes API tells no QoS class of {}, and some are protected", name(pod)),
        Some(class) if protected.contains(&class) => {
            format!("{} is {}, which kubernetes.protectQos names", name(pod), class.as_str())
        }
        Some(_) => return Ok(()),
    };
    Err(no(Reason::QosProtected, message))
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

fn no(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal::new(reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Annotation;
    use crate::kubernetes::fixtures::cart;
    use crate::policy::chain::Step;

    fn pod(change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
        let mut pod = Pod::of(&serde_json::from_value(cart()).unwrap()).unwrap();
        change(&mut pod);
        Arc::new(pod)
    }

    fn member(change: impl FnOnce(&mut Pod)) -> Known {
        Known {
            membership: Membership::Member(pod(change)),
            namespace: Some(Annotation::Absent),
            stale: None,
        }
    }

    fn asked(known: &Known, protected: &[QosClass]) -> (Option<Refusal>, Vec<Step>) {
        let mut chain = Chain::default();
        let refusal = judge(known, protected, &mut chain).err();
        (refusal, chain.into_steps())
    }

    fn reason(known: &Known, protected: &[QosClass]) -> Option<(u8, String)> {
        asked(known, protected).0.map(|refusal| (refusal.level, refusal.reason))
    }

    fn says(level: u8, word: &str) -> Option<(u8, String)> {
        (!word.is_empty()).then(|| (level, word.to_owned()))
    }

    #[test]
    fn a_container_that_the_api_knows_may_be_swept() {
        let (refusal, steps) = asked(&member(|_| {}), &[QosClass::Guaranteed]);
        assert_eq!(refusal, None);
        assert_eq!(steps.iter().map(|step| step.level).collect::<Vec<_>>(), [2, 3, 3, 3, 3, 3]);
        assert!(steps.iter().all(|step| !step.deciding));
    }

    #[test]
    fn the_namespaces_owner_comes_before_the_pods() {
        let disabled = |namespace| Known { namespace, ..member(|pod| pod.annotation = Annotation::Disabled) };
        assert_eq!(reason(&disabled(Some(Annotation::Disabled)), &[]), says(2, "NamespaceDisabled"));
        assert_eq!(reason(&disabled(Some(Annotation::Enabled)), &[]), says(3, "PodDisabled"));
        assert_eq!(reason(&disabled(None), &[]), says(2, "NamespaceUnknown"));
    }

    #[test]
    fn a_word_that_nobody_knows_is_a_no_that_says_so() {
        let unclear = Annotation::Unclear("off".into());
        let (refusal, _) = asked(&member(|pod| pod.annotation = unclear.clone()), &[]);
        assert!(refusal.unwrap().message.contains("\"off\", which counts as Disabled"));
        let known = Known { namespace: Some(unclear), ..member(|_| {}) };
        assert_eq!(reason(&known, &[]), says(2, "NamespaceDisabled"));
    }

    #[test]
    fn old_news_is_no_yes() {
        let stale = Known { stale: Some("pods: cut off for 61 s".into()), ..member(|_| {}) };
        let (refusal, _) = asked(&stale, &[]);
        assert_eq!(refusal.as_ref().map(|refusal| refusal.reason.as_str()), Some("ApiStale"));
        assert!(refusal.unwrap().message.contains("cut off for 61 s"));
        // But an old no stands.
        let known = Known { namespace: Some(Annotation::Disabled), ..stale };
        assert_eq!(reason(&known, &[]), says(2, "NamespaceDisabled"));
    }

    #[test]
    fn what_the_api_does_not_name_is_never_swept() {
        let of = |membership| reason(&Known { membership, ..member(|_| {}) }, &[]);
        assert_eq!(of(Membership::NoPod), says(3, "NotInAPod"));
        assert_eq!(of(Membership::PodUnknown), says(3, "PodUnknown"));
        assert_eq!(of(Membership::ContainerUnknown(pod(|_| {}))), says(3, "PodUnknown"));
        assert_eq!(of(Membership::Static(pod(|_| {}))), says(3, "StaticPod"));
        let nowhere = Known { membership: Membership::NoPod, namespace: None, stale: None };
        assert_eq!(reason(&nowhere, &[]), says(3, "NotInAPod"));
    }

    #[test]
    fn a_protected_class_of_qos_is_left_alone_and_so_is_one_that_is_not_told() {
        let protected = [QosClass::Guaranteed, QosClass::Burstable];
        assert_eq!(reason(&member(|_| {}), &protected), says(3, "QosProtected"));
        assert_eq!(reason(&member(|pod| pod.qos = Some(QosClass::BestEffort)), &protected), None);
        assert_eq!(reason(&member(|pod| pod.qos = None), &protected), says(3, "QosProtected"));
        assert_eq!(reason(&member(|pod| pod.qos = None), &[]), None);
    }

    #[test]
    fn a_node_of_a_cluster_with_nobody_who_watches_refuses_everything() {
        let alone = Config::default();
        assert!(Pods::new(&alone, None).is_none());
        let kubernetes = Some(crate::config::KubernetesConfig::default());
        let pods = Pods::new(&Config { kubernetes, ..alone }, None).unwrap();
        let mut container = crate::policy::fixtures::container();
        container.names.pod_uid = Some("uid".into());
        let refusal = pods.hear(&container, &mut Chain::default()).unwrap_err();
        assert_eq!((refusal.level, refusal.reason.as_str()), (3, "ApiStale"));
    }
}
