//! Every word with which somebody refuses a sweep, with its level, what it means and what changes its mind. Pure.
//!
//! One list, so that a word cannot be counted, shown and documented at different levels. docs/refusals.md is made of
//! it.

/// Why a sweep does not begin. A label of metrics, a word in history: keep the set small and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "`means` says what each is")]
pub enum Reason {
    NothingToSweep,
    HistoryUnavailable,
    Paused,
    NodeDisabled,
    Denied,
    NotAllowed,
    NamespaceDisabled,
    NamespaceUnknown,
    NotInAPod,
    PodUnknown,
    StaticPod,
    ApiStale,
    PodDisabled,
    QosProtected,
    NoPolicy,
    Conflict,
    NotSelected,
    ObserveOnly,
    PolicyInvalid,
    ExecutorUnavailable,
    NoRm,
    ExecForbidden,
    GuardsUnavailable,
    AlreadyRunning,
    CoolDown,
    RateLimit,
    BreakerOpen,
    BreakerHalfOpen,
    GlobalBreakerOpen,
    OutsideHours,
    NoSlot,
    MaxParallel,
    SerialWorkload,
    SerialNode,
    SerialNamespace,
    SerialZone,
    WaveObserved,
    WorkloadPaused,
    NeighboursUnknown,
    GuardFails,
    GuardUnknown,
    AwaitsSlot,
    ContainerGone,
    WorkloadDiffers,
}

impl Reason {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 44] = [
        Self::NothingToSweep,
        Self::HistoryUnavailable,
        Self::Paused,
        Self::NodeDisabled,
        Self::Denied,
        Self::NotAllowed,
        Self::NamespaceDisabled,
        Self::NamespaceUnknown,
        Self::NotInAPod,
        Self::PodUnknown,
        Self::StaticPod,
        Self::ApiStale,
        Self::PodDisabled,
        Self::QosProtected,
        Self::NoPolicy,
        Self::Conflict,
        Self::NotSelected,
        Self::ObserveOnly,
        Self::PolicyInvalid,
        Self::ExecutorUnavailable,
        Self::NoRm,
        Self::ExecForbidden,
        Self::GuardsUnavailable,
        Self::AlreadyRunning,
        Self::CoolDown,
        Self::RateLimit,
        Self::BreakerOpen,
        Self::BreakerHalfOpen,
        Self::GlobalBreakerOpen,
        Self::OutsideHours,
        Self::NoSlot,
        Self::MaxParallel,
        Self::SerialWorkload,
        Self::SerialNode,
        Self::SerialNamespace,
        Self::SerialZone,
        Self::WaveObserved,
        Self::WorkloadPaused,
        Self::NeighboursUnknown,
        Self::GuardFails,
        Self::GuardUnknown,
        Self::AwaitsSlot,
        Self::ContainerGone,
        Self::WorkloadDiffers,
    ];

    /// 0 built in, 1 node config, 2 namespace, 3 pod, 4 policy, 5 entry limits, 6 breakers, 7 admission.
    pub const fn level(self) -> u8 {
        match self {
            Self::NothingToSweep | Self::HistoryUnavailable => 0,
            Self::Paused | Self::NodeDisabled | Self::Denied | Self::NotAllowed => 1,
            Self::NamespaceDisabled | Self::NamespaceUnknown => 2,
            Self::NotInAPod
            | Self::PodUnknown
            | Self::StaticPod
            | Self::ApiStale
            | Self::PodDisabled
            | Self::QosProtected => 3,
            Self::NoPolicy
            | Self::Conflict
            | Self::NotSelected
            | Self::ObserveOnly
            | Self::PolicyInvalid
            | Self::ExecutorUnavailable
            | Self::NoRm
            | Self::ExecForbidden
            | Self::GuardsUnavailable => 4,
            Self::AlreadyRunning | Self::CoolDown | Self::RateLimit => 5,
            Self::BreakerOpen | Self::BreakerHalfOpen | Self::GlobalBreakerOpen => 6,
            Self::OutsideHours
            | Self::NoSlot
            | Self::MaxParallel
            | Self::SerialWorkload
            | Self::SerialNode
            | Self::SerialNamespace
            | Self::SerialZone
            | Self::WaveObserved
            | Self::WorkloadPaused
            | Self::NeighboursUnknown
            | Self::GuardFails
            | Self::GuardUnknown
            | Self::AwaitsSlot
            | Self::ContainerGone
            | Self::WorkloadDiffers => 7,
        }
    }

    /// Whether time alone changes its mind although its level's others wait for a person: what the Kubernetes API has
    /// not told yet.
    pub(super) const fn passes(self) -> bool {
        matches!(self, Self::NamespaceUnknown | Self::PodUnknown | Self::ApiStale)
    }

    /// The word itself.
    pub fn as_str(self) -> String {
        // The variant's name, as everywhere in podsweep's JSON.
        format!("{self:?}")
    }

    /// The reason with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// What it means.
    pub(super) const fn means(self) -> &'static str {
        match self {
            Self::NothingToSweep => "the container has no storage in which the policy may look",
            Self::HistoryUnavailable => "the sweep cannot be put on record",
            Self::Paused => "a person paused the agent",
            Self::NodeDisabled => "the node's config says `sweeps: Disabled`",
            Self::Denied => "a list of the node's `deny` names the container",
            Self::NotAllowed => "a list of the node's `allow` does not name it",
            Self::NamespaceDisabled => {
                "its namespace's annotation `podsweep.io/sweep` is `Disabled`, or no word that is known"
            }
            Self::NamespaceUnknown => "the Kubernetes API has not told of its namespace",
            Self::NotInAPod => {
                "the node is one of Kubernetes, and its cgroup is in no pod: a unit of the host"
            }
            Self::PodUnknown => {
                "the Kubernetes API does not show it among the containers of this node's pods: just made, a pod's \
                 sandbox, a container within a container, or past a bound"
            }
            Self::StaticPod => "the kubelet has its pod from a file; the API has only a copy of it",
            Self::ApiStale => "what the Kubernetes API told last may not hold any more: it cannot be watched",
            Self::PodDisabled => {
                "its pod's annotation `podsweep.io/sweep` is `Disabled`, or no word that is known"
            }
            Self::QosProtected => "`kubernetes.protectQos` names its pod's QoS class, or the API tells none",
            Self::NoPolicy => "no policy selects it",
            Self::Conflict => "several policies select it with the same, highest priority",
            Self::NotSelected => "the policy asked for does not select it",
            Self::ObserveOnly => "the policy's mode is `Observe`",
            Self::PolicyInvalid => "a glob of the policy cannot be compiled",
            Self::ExecutorUnavailable => {
                "`sweep.executor: Exec` needs Kubernetes, and a container that its API knows"
            }
            Self::NoRm => "`sweep.executor: Exec`, and the container has no `rm` that can be run",
            Self::ExecForbidden => "`sweep.executor: Exec`, and the API server refuses pods/exec",
            Self::GuardsUnavailable => {
                "the policy has `rollout.guards`, and no coordinator is there to ask them: the host is no node of a cluster"
            }
            Self::AlreadyRunning => "a sweep of the container has not ended",
            Self::CoolDown => "its last sweep ended less than `coolDown` ago",
            Self::RateLimit => "`sweepsPerMinute` sweeps began on this node within a minute",
            Self::BreakerOpen => "a container of its workload was harmed after a sweep",
            Self::BreakerHalfOpen => "its workload's breaker has its one probe out",
            Self::GlobalBreakerOpen => "several workloads were harmed",
            Self::OutsideHours => "it is outside `allowedHours`",
            Self::NoSlot => "all `slots` of the node are taken",
            Self::MaxParallel => "`rollout.maxParallel` sweeps of this policy run",
            Self::SerialWorkload => "a sweep of the same workload runs",
            Self::SerialNode => "a sweep of the same node runs",
            Self::SerialNamespace => "a sweep of the same namespace runs",
            Self::SerialZone => "a sweep of the same zone runs",
            Self::WaveObserved => "the workload's last wave has not been observed to its end (clusters)",
            Self::WorkloadPaused => "nobody knows how the workload's last sweep ended (clusters)",
            Self::NeighboursUnknown => "the coordinator cannot watch its workload's other pods (clusters)",
            Self::GuardFails => "a guard of its policy does not hold (clusters)",
            Self::GuardUnknown => "nobody knows whether a guard of its policy holds (clusters)",
            Self::AwaitsSlot => "its Sweep object waits for the coordinator to grant a slot (clusters)",
            Self::ContainerGone => "the container that its Sweep names does not run here any more (clusters)",
            Self::WorkloadDiffers => "it is not of the workload that its Sweep names (clusters)",
        }
    }

    /// What changes its mind.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::NothingToSweep => "rules whose `volumes` name storage that it has",
            Self::HistoryUnavailable => "room on the disk of the state folder; the message has the cause",
            Self::Paused => "`podsweep resume`",
            Self::NodeDisabled | Self::Denied | Self::NotAllowed | Self::QosProtected => {
                "the node's config, and a restart of the agent"
            }
            Self::NamespaceDisabled | Self::PodDisabled => "the annotation: `Enabled`, or none",
            Self::NamespaceUnknown => "the API's next word on it, within seconds",
            Self::NotInAPod | Self::StaticPod => "nothing",
            Self::PodUnknown => "the kubelet's next report of the pod, within seconds; else nothing",
            Self::ApiStale => "the API server, or this node's way to it; the message has the cause",
            Self::NoPolicy | Self::NotSelected => "a policy whose `select` matches it",
            Self::Conflict => "another `priority` for one of them",
            Self::ObserveOnly => "`mode: DryRun` or `Enforce`",
            Self::PolicyInvalid => "`podsweep check` on the policy",
            Self::ExecutorUnavailable | Self::NoRm => "`executor: Host`",
            Self::ExecForbidden => "`get` and `create` on pods/exec for the agent, or `executor: Host`",
            Self::GuardsUnavailable => "a policy without guards",
            Self::AlreadyRunning => "its end, or `DELETE /v1/sweeps/ID`",
            Self::CoolDown | Self::RateLimit | Self::OutsideHours => "time; the message says when",
            Self::BreakerOpen => "time, and then a healthy probe; or `podsweep breakers reset NAME`",
            Self::BreakerHalfOpen => "the end of the probe's observation",
            Self::GlobalBreakerOpen => "a person: `podsweep breakers reset global`",
            Self::NoSlot
            | Self::MaxParallel
            | Self::SerialWorkload
            | Self::SerialNode
            | Self::SerialNamespace
            | Self::SerialZone
            | Self::WaveObserved => "the end of a sweep that runs",
            Self::WorkloadPaused => "time; then a canary may try",
            Self::NeighboursUnknown => {
                "the API server, or the coordinator's rights; the message has the cause"
            }
            Self::GuardFails => "what the query measures; the message has its result",
            Self::GuardUnknown => "the query, Prometheus, or the way to it; the message has the cause",
            Self::AwaitsSlot => "the coordinator; `kubectl get sweeps` shows what it waits for",
            Self::ContainerGone | Self::WorkloadDiffers => "a new Sweep",
        }
    }
}
