//! Why a sweep ends: every reason it has, the stable word for it, and the sentence for people. Pure.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::admission::Until;
use crate::kernel::Free;
use crate::policy::StopWhen;
use crate::report::Outcome;
use crate::scan::ScanEnd;

/// Why a sweep ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// Enough is free.
    StopWhen(String),
    /// `maxFiles` reached, and there was more.
    MaxFiles(u64),
    /// `sweep.timeout` reached.
    Timeout(Duration),
    /// The permit runs out.
    PermitExpired,
    /// Somebody asked it to stop.
    Cancelled,
    /// The container is not the one that was scanned.
    ContainerChanged(String),
    /// The container's mounts are not those that the inventory saw.
    ViewDiffers(String),
    /// A sign that the sweep steers by could not be read.
    SignalMissing(String),
    /// The audit journal cannot be written.
    AuditUnavailable(String),
    /// The kernel refused too often in a row.
    SweepBreaker {
        /// How often.
        refusals: u32,
        /// The last errno.
        errno: i32,
    },
    /// A name was taken over between the last check and the call: which, and where to look.
    Replaced(String),
    /// The scan ended, and everything that it found has been seen to.
    ScanEnded(ScanEnd),
    /// The scan worker named what it was not asked for: it may be in somebody else's hands.
    ScanNotBelieved,
    /// The scan could not start.
    ScanNotStarted {
        /// One stable word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// The policy's mode is Observe.
    ObserveOnly,
    /// A pattern of the policy does not compile.
    PolicyInvalid(String),
    /// The policy wants an executor that this node, or this container, does not have.
    ExecutorUnavailable(&'static str),
    /// Exec: there is no `rm` in the container that can be run.
    NoRm(String),
    /// Exec: the API server refuses pods/exec.
    ExecForbidden(String),
    /// Exec: a command could not be run to its end.
    ExecFailed(String),
    /// The scan worker died or broke the protocol; how, and the remedy.
    ScanFailed(String),
    /// The deleter could not be started, died or fell silent.
    DeleterFailed(String),
    /// A batch does not come to its end: something that it looks at hangs.
    Stuck(Duration),
    /// So many batches of earlier sweeps still hang that no more may be risked.
    TooManyStuck(usize),
    /// A defect of podsweep.
    Internal(String),
}

impl End {
    /// How the record calls it.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::ScanEnded(ScanEnd::Complete) => Outcome::Complete,
            Self::StopWhen(_)
            | Self::MaxFiles(_)
            | Self::Timeout(_)
            | Self::ScanEnded(ScanEnd::EntryLimit | ScanEnd::Timeout) => Outcome::Partial,
            Self::PermitExpired
            | Self::Cancelled
            | Self::ContainerChanged(_)
            | Self::ViewDiffers(_)
            | Self::SignalMissing(_)
            | Self::AuditUnavailable(_)
            | Self::SweepBreaker { .. }
            | Self::Replaced(_)
            | Self::ScanNotBelieved
            | Self::ScanEnded(ScanEnd::Cancelled) => Outcome::Stopped,
            Self::ObserveOnly
            | Self::PolicyInvalid(_)
            | Self::ExecutorUnavailable(_)
            | Self::NoRm(_)
            | Self::ExecForbidden(_)
            | Self::TooManyStuck(_) => Outcome::Refused,
            Self::ScanEnded(ScanEnd::WorkerFailed)
            | Self::ScanFailed(_)
            | Self::DeleterFailed(_)
            | Self::ExecFailed(_)
            | Self::Stuck(_)
            | Self::ScanNotStarted { .. }
            | Self::Internal(_) => Outcome::Failed,
        }
    }

    /// One stable word.
    pub(super) fn reason(&self) -> String {
        let word = match self {
            Self::ScanEnded(ScanEnd::Complete) => "Complete",
            Self::StopWhen(_) => "StopWhen",
            Self::MaxFiles(_) => "MaxFiles",
            Self::Timeout(_) => "Timeout",
            Self::PermitExpired => "PermitExpired",
            Self::Cancelled | Self::ScanEnded(ScanEnd::Cancelled) => "Cancelled",
            Self::ContainerChanged(_) => "ContainerChanged",
            Self::ViewDiffers(_) => "ViewDiffers",
            Self::SignalMissing(_) => "SignalMissing",
            Self::AuditUnavailable(_) => "AuditUnavailable",
            Self::SweepBreaker { .. } => "SweepBreaker",
            Self::Replaced(_) => "Replaced",
            Self::ScanEnded(ScanEnd::EntryLimit) => "EntryLimit",
            Self::ScanEnded(ScanEnd::Timeout) => "ScanTimeout",
            Self::ScanFailed(_) | Self::ScanEnded(ScanEnd::WorkerFailed) => "ScanFailed",
            Self::DeleterFailed(_) => "DeleterFailed",
            Self::Stuck(_) => "Stuck",
            Self::TooManyStuck(_) => "TooManyStuck",
            Self::ScanNotBelieved => "ScanNotBelieved",
            Self::ScanNotStarted { reason, .. } => reason,
            Self::ObserveOnly => "ObserveOnly",
            Self::PolicyInvalid(_) => "PolicyInvalid",
            Self::ExecutorUnavailable(_) => "ExecutorUnavailable",
            Self::NoRm(_) => "NoRm",
            Self::ExecForbidden(_) => "ExecForbidden",
            Self::ExecFailed(_) => "ExecFailed",
            Self::Internal(_) => "Internal",
        };
        word.to_owned()
    }

    /// A sentence.
    pub(super) fn message(&self) -> String {
        match self {
            Self::ScanEnded(ScanEnd::Complete) => "everything that the policy names was seen to".into(),
            Self::StopWhen(what) => format!("enough is free: {what}"),
            Self::MaxFiles(limit) => format!("sweep.maxFiles ({limit}) reached, and there are more"),
            Self::Timeout(limit) => format!("sweep.timeout ({limit:?}) reached"),
            Self::PermitExpired => "the permit ran out before the sweep was done".into(),
            Self::Cancelled | Self::ScanEnded(ScanEnd::Cancelled) => "asked to stop".into(),
            Self::ContainerChanged(what) => format!("not the container that was scanned: {what}"),
            Self::ViewDiffers(what) => {
                format!("the container's mounts are not as the inventory saw them: {what}")
            }
            Self::SignalMissing(what) => format!("a sign of harm cannot be read: {what}"),
            Self::AuditUnavailable(what) => format!("the audit journal cannot be written: {what}"),
            Self::SweepBreaker { refusals, errno } => {
                let errno = Errno::from_raw_os_error(*errno);
                format!("the kernel refused {refusals} times in a row, last: {errno}")
            }
            Self::ScanEnded(ScanEnd::EntryLimit) => "scan.maxEntries reached, and there are more".into(),
            Self::ScanEnded(ScanEnd::Timeout) => "scan.timeout reached before the scan was done".into(),
            Self::ScanFailed(why) | Self::DeleterFailed(why) | Self::Replaced(why) => why.clone(),
            Self::TooManyStuck(hanging) => format!(
                "{hanging} batches of earlier sweeps hang in the kernel; find what hangs (the log names the sweeps), \
                 or start the agent again"
            ),
            Self::Stuck(limit) => format!(
                "a batch did not end within {limit:?}: a filesystem or a process that it looks at hangs; left alone"
            ),
            Self::ScanEnded(ScanEnd::WorkerFailed) => "the scan worker died or broke the protocol".into(),
            Self::ScanNotBelieved => {
                "the scan worker named what it was not asked for; the log says what; not tried again".into()
            }
            Self::ScanNotStarted { message, .. } => format!("the scan could not start: {message}"),
            Self::ObserveOnly => "mode Observe: nothing is scanned or removed".into(),
            Self::PolicyInvalid(what) => format!("the policy cannot be used: {what}"),
            Self::ExecutorUnavailable(why) => format!("sweep.executor Exec {why}; write Host"),
            Self::NoRm(said) => {
                format!("the container has no rm that sweep.executor Exec can run ({said}); write Host")
            }
            Self::ExecForbidden(said) => format!(
                "the API server does not let podsweep run rm in the container ({said}); grant the agent get and create \
                 on pods/exec, or write executor: Host"
            ),
            Self::ExecFailed(why) => format!("rm in the container: {why}"),
            Self::Internal(what) => format!("a defect of podsweep, please report it: {what}"),
        }
    }
}

/// What ends a sweep from outside, whatever it is doing. Asked before every file.
#[derive(Debug, Clone)]
pub(super) struct Halt {
    /// Somebody asks it to stop.
    pub(super) stop: CancellationToken,
    /// The permit's own deadline.
    pub(super) permit: Option<Until>,
    /// The policy's timeout.
    pub(super) timeout: Duration,
    /// When the sweep began.
    pub(super) began: Instant,
}

impl Halt {
    /// No file is touched after it.
    pub(super) fn deadline(&self) -> Instant {
        let timeout = self.began + self.timeout;
        self.permit.as_ref().map_or(timeout, |permit| permit.now_at().min(timeout))
    }

    /// The first that holds at `now`.
    pub(super) fn reached(&self, now: Instant) -> Option<End> {
        if self.stop.is_cancelled() {
            return Some(End::Cancelled);
        }
        if self.permit.as_ref().is_some_and(|permit| now >= permit.now_at()) {
            return Some(End::PermitExpired);
        }
        (now.saturating_duration_since(self.began) >= self.timeout).then_some(End::Timeout(self.timeout))
    }
}

/// Whether enough is free; which figure says so.
pub(super) fn enough(free: &Free, wanted: &StopWhen) -> Option<String> {
    let one = |what: &str, now: f64, wanted: Option<crate::units::Percent>| {
        let wanted = wanted.filter(|wanted| now >= wanted.0)?;
        Some(format!("{now:.1}% of {what}, stopWhen asks for {:.1}%", wanted.0))
    };
    one("inodes", free.inodes_percent, wanted.node_inodes_free)
        .or_else(|| one("bytes", free.bytes_percent, wanted.node_bytes_free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Percent;

    #[test]
    fn the_person_is_heard_before_the_clocks() {
        let began = Instant::now();
        let stop = CancellationToken::new();
        let permit = Some(Until::at(began + Duration::from_secs(5)));
        let halt = Halt { stop: stop.clone(), permit, timeout: Duration::from_secs(9), began };
        assert_eq!(halt.reached(began + Duration::from_millis(4999)), None);
        assert_eq!(halt.reached(began + Duration::from_secs(5)), Some(End::PermitExpired));
        let unbounded = Halt { permit: None, ..halt.clone() };
        assert_eq!(
            unbounded.reached(began + Duration::from_secs(9)),
            Some(End::Timeout(Duration::from_secs(9)))
        );
        stop.cancel();
        assert_eq!(halt.reached(began + Duration::from_secs(9)), Some(End::Cancelled));
    }

    #[test]
    fn either_figure_is_enough_and_none_asked_never_is() {
        let free = Free { inodes_percent: 30.0, bytes_percent: 5.0 };
        let wanted = |inodes, bytes| StopWhen { node_inodes_free: inodes, node_bytes_free: bytes };
        assert!(enough(&free, &wanted(Some(Percent(30.0)), Some(Percent(50.0)))).is_some());
        assert!(enough(&free, &wanted(Some(Percent(30.1)), Some(Percent(5.0)))).is_some());
        assert!(enough(&free, &wanted(Some(Percent(31.0)), None)).is_none());
        assert!(enough(&free, &wanted(None, None)).is_none());
    }
}
