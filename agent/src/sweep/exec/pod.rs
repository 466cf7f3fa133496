//! What executor `Exec` asks of Kubernetes. Plain data and the trait; who speaks to the API server is `kubernetes::exec`.

use std::fmt::Debug;
use std::time::Duration;

use super::command::RmCommand;
use crate::inventory::Container;

/// A container of a pod: the names by which the API server is asked, and what tells it from any other with these names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainer {
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container within the pod.
    pub container: String,
    /// The pod's uid: a pod that was deleted by force may run on while another has its name, on another node.
    pub pod_uid: String,
    /// The runtime's id of the container: it changes with each restart.
    pub id: String,
}

impl PodContainer {
    /// `None` where one of the names is not known.
    pub(super) fn of(container: &Container) -> Option<Self> {
        let names = &container.names;
        Some(Self {
            namespace: names.namespace.clone()?,
            pod: names.pod.clone()?,
            container: names.container.clone()?,
            pod_uid: names.pod_uid.clone()?,
            id: container.id.clone(),
        })
    }
}

/// A program in a container has ended, or could not be started there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; `None`: the runtime could not start it.
    pub code: Option<i32>,
    /// The beginning of its stderr, or of what the runtime says. The container's own words: believe nothing.
    pub said: String,
}

/// Nothing is known of the program: it was not run, or its end was not seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// The API server refuses (401, 403).
    #[error("{0}")]
    Forbidden(String),
    /// The API server's pod of this name is not the one that holds this container, or has another container by now.
    #[error("{0}")]
    AnotherContainer(String),
    /// Not ended in time. It may run on: nothing ends a program that pods/exec started.
    #[error("not ended within {0:?}; it may be running on in the container")]
    TimedOut(Duration),
    /// The API server or the kubelet cannot be reached, or does not answer as it should.
    #[error("{0}")]
    Failed(String),
}

/// pods/exec, as far as removing needs it. Blocking: called off the async threads.
pub trait PodExec: Send + Sync + Debug {
    /// Whether the names lead to this very container, and it runs.
    fn must_be(&self, container: &PodContainer) -> Result<(), NotRun>;

    /// Runs a command in it, for as long as `within`. `meanwhile` is called every few milliseconds until it ends.
    fn run(
        &self,
        container: &PodContainer,
        command: &RmCommand,
        within: Duration,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Ran, NotRun>;
}
