//! A scan that runs: the agent's end of the pipe, and the end of the worker.
//!
//! In: the worker's messages, which are checked: it has looked at a stranger's files. Out: the same messages, the
//! last of which is the report with what the kernel counted. Must never: leave a process or a cgroup behind; buffer
//! more than [`AHEAD`] messages, so that a slow receiver holds the worker back through the pipe.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cgroup::ScanCgroup;
use super::protocol::Checked;
use super::start::pid_of;
use super::usage::Usage;
use super::wire::Messages;
use super::{ScanEnd, ScanMessage, ScanReport, ScanRequest};

/// Messages read ahead of the receiver.
const AHEAD: usize = 64;

/// Longest silence of a worker that nobody holds back. It tells its progress ten times a second, so a minute means
/// that it is stuck in the kernel (a dead disk, a network filesystem that is gone).
const MAX_SILENCE: Duration = Duration::from_mins(1);

/// How long a cancelled worker may take to send its report.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// Longest wait for a killed worker to be gone: one that is stuck in the kernel cannot be killed.
const MAX_DYING: Duration = Duration::from_secs(5);

/// What is kept of the worker's stderr, bytes.
const MAX_STDERR: usize = 8 * 1024;

/// A worker that has its request.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) child: Child,
    /// Held open; its end tells the worker to end.
    pub(super) input: ChildStdin,
    pub(super) cgroup: ScanCgroup,
    pub(super) limits: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
    pub(super) started: Instant,
}

/// A scan that runs. Dropping it cancels it.
#[derive(Debug)]
pub struct RunningScan {
    messages: mpsc::Receiver<ScanMessage>,
    stop: DropGuard,
    limits: BTreeMap<String, String>,
    missing: Vec<String>,
    pid: i32,
    failure: Arc<OnceLock<String>>,
    report: Option<ScanReport>,
}

impl RunningScan {
    pub(super) fn supervise(worker: Worker, request: &ScanRequest) -> Self {
        let (sender, messages) = mpsc::channel(AHEAD);
        let stop = CancellationToken::new();
        let failure = Arc::new(OnceLock::new());
        let scan = Self {
            messages,
            limits: worker.limits.clone(),
            missing: worker.missing.clone(),
            pid: pid_of(&worker.child),
            failure: Arc::clone(&failure),
            report: None,
            stop: stop.clone().drop_guard(),
        };
        tokio::spawn(Supervisor { sender, stop, failure, checked: Checked::new(request) }.run(worker));
        scan
    }

    /// The next message; `None` after [`ScanMessage::End`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<ScanMessage> {
        let message = self.messages.recv().await;
        if let Some(ScanMessage::End(report)) = &message {
            self.report = Some(report.clone());
        }
        message
    }

    /// Limits in force (kernel file and value, read back before the walk began), and those that are missing.
    pub fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        (&self.limits, &self.missing)
    }

    /// The worker's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Why the worker failed: a sentence, set once the report says [`ScanEnd::WorkerFailed`].
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Ends the scan, within seconds; candidates on their way are dropped. The report tells how far it came.
    pub async fn cancel(mut self) -> ScanReport {
        let stop = self.stop.disarm();
        stop.cancel();
        loop {
            match self.messages.recv().await {
                Some(ScanMessage::End(report)) => return report,
                Some(_) => {}
                None => break,
            }
        }
        self.report.unwrap_or_else(|| ScanReport::empty(ScanEnd::Cancelled))
    }
}

/// The task that reads the worker's output to its end and clears up.
struct Supervisor {
    sender: mpsc::Sender<ScanMessage>,
    stop: CancellationToken,
    failure: Arc<OnceLock<String>>,
    checked: Checked,
}

impl Supervisor {
    async fn run(mut self, mut worker: Worker) {
        let pid = pid_of(&worker.child);
        let stderr = worker.child.stderr.take().map(|stderr| tokio::spawn(keep_some(stderr)));
        let mut report = match worker.child.stdout.take() {
            Some(stdout) => self.forward(Messages::new(stdout), worker.input).await,
            None => Err("the worker has no stdout".to_owned()),
        };
        let status = end(&mut worker.child, report.is_ok()).await;
        let usage = worker.cgroup.usage();
        if let Some(stderr) = stderr {
            let text = timeout(MAX_DYING, stderr).await.ok().and_then(Result::ok).unwrap_or_default();
            if !text.is_empty() {
                tracing::warn!(pid, text, "the scan worker says");
            }
            report = report.map_err(|problem| explain(&problem, status, usage, &text));
        }
        let mut report = report.unwrap_or_else(|problem| {
            tracing::error!(problem, "the scan worker failed");
            // Set once, here.
            let _ = self.failure.set(problem);
            self.checked.report(ScanEnd::WorkerFailed)
        });
        report.wall = worker.started.elapsed();
        report.cpu = usage.cpu;
        report.throttled = usage.throttled;
        report.read_bytes = usage.read_bytes;
        report.reads = usage.reads;
        report.limits = worker.limits;
        report.missing_limits = worker.missing;
        remove(worker.cgroup).await;
        // Nobody listens: the scan was dropped.
        let _ = self.sender.send(ScanMessage::End(report)).await;
    }

    /// Hands messages on until the report. An error is the worker's.
    async fn forward(
        &mut self,
        mut messages: Messages<ChildStdout>,
        input: ChildStdin,
    ) -> Result<ScanReport, String> {
        loop {
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                next = timeout(MAX_SILENCE, messages.next()) => next,
            };
            let message = match next {
                Err(_) => return Err(format!("silent for {} s", MAX_SILENCE.as_secs())),
                Ok(Err(error)) => return Err(error.to_string()),
                Ok(Ok(None)) => return Err("ended without a report".to_owned()),
                Ok(Ok(Some(message))) => message,
            };
            self.checked.check(&message)?;
            if let ScanMessage::End(report) = message {
                return Ok(report);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                sent = self.sender.send(message) => if sent.is_err() { break },
            }
        }
        // The worker may be waiting in a write: what it still has to say is read and dropped.
        drop(input);
        let report = timeout(CANCEL_GRACE, self.last_words(&mut messages)).await.ok().flatten();
        Ok(report.unwrap_or_else(|| self.checked.report(ScanEnd::Cancelled)))
    }

    async fn last_words(&mut self, messages: &mut Messages<ChildStdout>) -> Option<ScanReport> {
        while let Ok(Some(message)) = messages.next().await {
            self.checked.check(&message).ok()?;
            if let ScanMessage::End(report) = message {
                return Some(report);
            }
        }
        None
    }
}

/// Sees the worker off: it ends by itself after its report, or is killed.
async fn end(child: &mut Child, reported: bool) -> Option<ExitStatus> {
    if reported && let Ok(Ok(status)) = timeout(CANCEL_GRACE, child.wait()).await {
        return Some(status);
    }
    // An error means that it is gone already.
    let _ = child.start_kill();
    timeout(MAX_DYING, child.wait()).await.ok().and_then(Result::ok)
}

/// Removes a scan's cgroup, off the runtime's threads.
pub(super) async fn remove(cgroup: ScanCgroup) {
    match tokio::task::spawn_blocking(move || cgroup.remove()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "the scan's cgroup stays behind until the agent's next start");
        }
        Err(error) => tracing::debug!(%error, "shut down while the scan's cgroup was being removed"),
    }
}

/// The beginning of the worker's stderr; the rest is read and dropped, so that it never blocks.
async fn keep_some(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::with_capacity(MAX_STDERR);
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let room = MAX_STDERR - kept.len();
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}

fn explain(problem: &str, status: Option<ExitStatus>, usage: Usage, stderr: &str) -> String {
    let status = status.map_or_else(|| "it cannot be killed".to_owned(), |status| status.to_string());
    let hint = if usage.oom_kills > 0 { "; out of memory: raise spec.scan.memory" } else { "" };
    let last = stderr.lines().last().map(|line| format!("; it said: {line}")).unwrap_or_default();
    format!("the scan worker failed: {problem}; {status}{hint}{last}")
}
