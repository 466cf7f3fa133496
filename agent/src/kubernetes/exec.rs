//! pods/exec over a websocket, as executor `Exec` of the sweep stage needs it.
//!
//! In: a container by its names, a command that the sweep stage has made. Out: how it ended. The one place that runs a
//! program in a container (`sweep::tests::sources`, clippy's `disallowed_methods`). Must never: make a command itself,
//! take more of what a container says than [`MAX_SAID`], wait for it without a limit.
//!
//! RBAC: `get` on pods; `create` and, before Kubernetes 1.35, `get` on pods/exec.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client, Error};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::time::{interval, timeout};

use crate::sweep::{NotRun, PodContainer, PodExec, Ran, RmCommand};

/// Longest wait for a pod's object; it takes milliseconds.
const POD_WITHIN: Duration = Duration::from_secs(5);

/// From one call of `meanwhile` to the next: so long at most waits who opens a file whose lease is held.
const MEANWHILE: Duration = Duration::from_millis(10);

/// Bytes taken of a program's stderr.
const MAX_SAID: u64 = 1024;

/// `reason` of the cause that holds an exit status (k8s.io/apimachinery, `ExitCodeCauseType`).
const EXIT_CODE: &str = "ExitCode";

/// Runs commands in the containers of this cluster.
#[derive(Clone)]
pub struct ClusterExec {
    client: Client,
    runtime: Handle,
}

impl std::fmt::Debug for ClusterExec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterExec").finish_non_exhaustive()
    }
}

impl ClusterExec {
    /// Over this client, by the runtime of the caller.
    pub fn new(client: Client) -> Self {
        Self { client, runtime: Handle::current() }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

impl PodExec for ClusterExec {
    fn must_be(&self, at: &PodContainer) -> Result<(), NotRun> {
        let pods = self.pods(&at.namespace);
        let asked = self.runtime.block_on(async { timeout(POD_WITHIN, pods.get(&at.pod)).await });
        let pod = asked
            .map_err(|_| NotRun::Failed(format!("the API server did not answer within {POD_WITHIN:?}")))?
            .map_err(|error| not_run(error, at))?;
        is_still(&pod, at)
    }

    fn run(
        &self,
        at: &PodContainer,
        command: &RmCommand,
        within: Duration,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Ran, NotRun> {
        let pods = self.pods(&at.namespace);
        self.runtime.block_on(async {
            let running = timeout(within, run(pods, at, command.arguments().to_vec()));
            let (mut running, mut ticks) = (std::pin::pin!(running), interval(MEANWHILE));
            loop {
                tokio::select! {
                    ran = &mut running => return ran.unwrap_or(Err(NotRun::TimedOut(within))),
                    _ = ticks.tick() => meanwhile(),
                }
            }
        })
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that runs a program in a container")]
async fn run(pods: Api<Pod>, at: &PodContainer, arguments: Vec<String>) -> Result<Ran, NotRun> {
    // One stream must be attached; what goes to stdout is nobody's business.
    let only_stderr =
        AttachParams::default().container(&at.container).stdin(false).stdout(false).stderr(true);
    let attached = pods.exec(&at.pod, arguments, &only_stderr).await;
    let mut attached = attached.map_err(|error| not_run(error, at))?;
    let (status, stderr) = (attached.take_status(), attached.stderr());
    // Together: a program that says more than the connection holds would wait for its reader for ever.
    let (said, status) = tokio::join!(beginning(stderr), async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    });
    let status =
        status.ok_or_else(|| NotRun::Failed("the connection ended before the program did".into()))?;
    Ok(ended(status, said))
}

/// The first [`MAX_SAID`] bytes; the rest is read and thrown away.
async fn beginning(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut bytes = Vec::new();
    // What came before an error is all there is.
    let _ = (&mut stderr).take(MAX_SAID).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ended(status: Status, said: String) -> Ran {
    if status.status.as_deref() == Some("Success") {
        return Ran { code: Some(0), said };
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some(EXIT_CODE))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    let said = if said.is_empty() { status.message.unwrap_or_default() } else { said };
    Ran { code, said }
}

fn not_run(error: Error, at: &PodContainer) -> NotRun {
    let pod = format!("{}/{}", at.namespace, at.pod);
    match error {
        Error::Api(status) if status.code == 403 => NotRun::Forbidden(status.message.clone()),
        Error::Api(status) if status.code == 404 => NotRun::AnotherContainer(format!(
            "the API server has no such pod or container {pod}: {}",
            status.message
        )),
        Error::Api(status) => NotRun::Failed(format!("pod {pod}: {} ({})", status.message, status.code)),
        other => NotRun::Failed(format!("pod {pod}: {other}")),
    }
}

/// Whether the API server's pod is the one that was decided about, and its container was not started anew.
fn is_still(pod: &Pod, at: &PodContainer) -> Result<(), NotRun> {
    let another = |what: String| Err(NotRun::AnotherContainer(what));
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if uid != at.pod_uid {
        return another(format!("pod {}/{} has uid {uid}, not {}", at.namespace, at.pod, at.pod_uid));
    }
    let Some(status) = statuses(pod).find(|status| status.name == at.container) else {
        return another(format!(
            "pod {}/{} has no container {} that runs",
            at.namespace, at.pod, at.container
        ));
    };
    // `containerd://` and the runtime's own id.
    let id = status.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id);
    if id != Some(at.id.as_str()) {
        let now = id.unwrap_or("none");
        return another(format!(
            "container {} of pod {}/{} has id {now}",
            at.container, at.namespace, at.pod
        ));
    }
    if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
        Ok(())
    } else {
        another(format!("container {} of pod {}/{} does not run", at.container, at.namespace, at.pod))
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        let all = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        all.into_iter().flatten().flatten()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at() -> PodContainer {
        let word = str::to_owned;
        PodContainer {
            namespace: word("shop"),
            pod: word("web-0"),
            container: word("app"),
            pod_uid: word("u1"),
            id: word("c1"),
        }
    }

    fn pod(uid: &str, name: &str, id: &str, state: &str) -> Pod {
        let status = json!({
            "name": name, "containerID": id, "state": {state: {"exitCode": 0}}, "image": "", "imageID": "",
            "ready": true, "restartCount": 0,
        });
        let pod = json!({
            "metadata": {"name": "web-0", "uid": uid},
            "status": {"containerStatuses": [status]},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_the_very_container_that_was_decided_about_is_still_it() {
        assert_eq!(is_still(&pod("u1", "app", "containerd://c1", "running"), &at()), Ok(()));
        for other in [
            pod("u2", "app", "containerd://c1", "running"),
            pod("u1", "sidecar", "containerd://c1", "running"),
            pod("u1", "app", "containerd://c2", "running"),
            pod("u1", "app", "c1", "running"),
            pod("u1", "app", "containerd://c1", "terminated"),
            Pod::default(),
        ] {
            assert!(matches!(is_still(&other, &at()), Err(NotRun::AnotherContainer(_))), "{other:?}");
        }
    }

    fn status(value: serde_json::Value) -> Ran {
        ended(serde_json::from_value(value).unwrap(), String::new())
    }

    #[test]
    fn success_an_exit_status_and_no_start_are_told_apart() {
        assert_eq!(status(json!({"status": "Success"})).code, Some(0));
        let exit = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
            "details": {"causes": [{"reason": "ExitCode", "message": "127"}]},
        });
        assert_eq!(status(exit).code, Some(127));
        let none = status(json!({"status": "Failure", "message": "exec: \"rm\": not found"}));
        assert_eq!((none.code, none.said.as_str()), (None, "exec: \"rm\": not found"));
    }

    #[tokio::test]
    async fn no_more_is_kept_of_what_a_program_says_than_the_limit() {
        let endless = tokio::io::repeat(b'x').take(10 * MAX_SAID);
        assert_eq!(beginning(Some(endless)).await.len() as u64, MAX_SAID);
    }
}
