//! The course of one sweep: take candidates from the scan, form batches, wait for the pace and the pressure, pass
//! each batch on to be worked off, end at the first reason to.
//!
//! ```text
//! scan --candidates--> batch (at most batchSize) --pace, pressure--> Hand::work --> figures, events
//! ```
//!
//! Holds one batch and nothing more: while it waits it does not read, and the scan waits in its pipe.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::batch::{Hand, Worked};
use super::deleter::Deleters;
use super::end::{End, Halt};
use super::event::{Done, Event};
use super::exec::PodExec;
use super::executor::Chosen;
use super::held::Held;
use super::pace::{Level, Pace, Step};
use super::plan::{Plan, prefix_notes};
use super::source::{Candidates, Scans};
use super::stuck::Stuck;
use super::tally::Tally;
use crate::admission::Until;
use crate::kernel::{Cgroups, KernelError, Psi};
use crate::policy::{Mode, Pressure};
use crate::scan::{Candidate, ScanEnd, ScanMessage, ScanReport, ScanRequest};

/// From one look at whether the container is still the same to the next, while nothing is removed. Before every
/// batch and every file it is looked at anyway.
const CONTAINER_RECHECK: Duration = Duration::from_secs(1);

/// For this long the first candidate of a batch waits for the batch to fill. A scan that finds little in much would
/// otherwise hold its candidates until they are stale.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);

/// What a batch that is under way when the sweep's time is up may still take. It asks before every order; past this
/// it hangs in the kernel (a dead device, a filesystem whose server does not answer).
const LAST_BATCH: Duration = Duration::from_secs(35);

/// What every sweep of this node works with.
pub struct Tools<S> {
    /// Starts scans.
    pub scans: S,
    /// The mounted cgroup hierarchies.
    pub cgroups: Cgroups,
    /// Where removals are written down.
    pub audit: Arc<dyn Audit>,
    /// Starts deleters.
    pub deleters: Arc<dyn Deleters>,
    /// Runs `rm` in containers, where the policy says `Exec`. Set once the agent talks to an API server; never by itself.
    pub exec: OnceLock<Arc<dyn PodExec>>,
    /// Batches of all sweeps that hang.
    pub stuck: Stuck,
    /// Pressure of the node above which the pace halves; twice that: wait.
    pub node_pressure: Pressure,
}

/// Runs one sweep to its end. Never fails: whatever happens is in [`Done`].
///
/// `permit`: no file is touched after it; `None` where no permit is needed. Dropping the future ends the scan;
/// a batch that is being worked off goes on to its end unless `stop` is cancelled, too.
pub async fn run<S: Scans>(
    plan: Plan,
    tools: &Tools<S>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    permit: Option<Until>,
) -> Done {
    run_by_clock(plan, tools, events, stop, permit, wall_clock).await
}

/// As [`run`], by a wall clock of the caller's.
pub(super) async fn run_by_clock<S: Scans>(
    plan: Plan,
    tools: &Tools<S>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    permit: Option<Until>,
    wall: fn() -> Duration,
) -> Done {
    let settings = &plan.policy.spec.sweep;
    let halt = Halt { stop, permit, timeout: settings.timeout.0, began: Instant::now() };
    // A dry run writes nothing, so it need not wait between batches; the pressure holds it up all the same.
    let interval = if plan.mode == Mode::Enforce { settings.batch_interval.0 } else { Duration::ZERO };
    let mut course = Course {
        pace: Pace::new(interval),
        plan: Arc::new(plan),
        halt,
        events,
        wall,
        hand: None,
        batch: Vec::new(),
        batch_since: None,
        held_up_since: None,
        next_check: Instant::now(),
        tally: Tally::default(),
        first_batch: None,
        last_batch: None,
        tried_last: false,
        report: None,
    };
    let end = course.go(tools).await;
    if let Some(hand) = course.hand.take() {
        // Waits for the deleter to be gone, which is not for a thread of the runtime.
        let _ = spawn_blocking(move || drop(hand)).await;
    }
    course.done(&end)
}

fn wall_clock() -> Duration {
    // A clock before 1970 makes every file too young: nothing is removed.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

struct Course {
    plan: Arc<Plan>,
    halt: Halt,
    events: mpsc::Sender<Event>,
    wall: fn() -> Duration,
    pace: Pace,
    /// `None` before the start, and while a batch is being worked off.
    hand: Option<Hand>,
    /// Candidates of the next batch.
    batch: Vec<Candidate>,
    /// When the first of them came.
    batch_since: Option<Instant>,
    /// Since when the pressure has kept a batch from starting.
    held_up_since: Option<Instant>,
    next_check: Instant,
    tally: Tally,
    first_batch: Option<Instant>,
    last_batch: Option<Instant>,
    tried_last: bool,
    /// Set when the scan is over.
    report: Option<ScanReport>,
}

impl Course {
    async fn go<S: Scans>(&mut self, tools: &Tools<S>) -> End {
        if let Err(end) = self.begin(tools).await {
            return end;
        }
        let mut scan = match tools.scans.start(self.request()).await {
            Ok(scan) => scan,
            Err(error) => return End::ScanNotStarted { reason: error.reason, message: error.message },
        };
        let (limits, missing) = scan.limits();
        self.tell(Event::ScanStarted { limits: limits.clone(), missing: missing.to_vec() });
        let end = self.follow(&mut scan, tools).await;
        if self.report.is_none() {
            let report = scan.cancel().await;
            self.scan_ended(report);
        }
        end
    }

    /// Takes hold of the container and looks at its view once, before a scan is spent on it.
    async fn begin<S>(&mut self, tools: &Tools<S>) -> Result<(), End> {
        if self.plan.mode == Mode::Observe {
            return Err(End::ObserveOnly);
        }
        let (plan, halt) = (Arc::clone(&self.plan), self.halt.clone());
        let (audit, cgroups) = (Arc::clone(&tools.audit), tools.cgroups.clone());
        let (deleters, pods) = (Arc::clone(&tools.deleters), tools.exec.get().map(Arc::clone));
        tools.stuck.let_one_begin()?;
        let limit = self.halt.timeout.saturating_add(LAST_BATCH);
        let begun = tools.stuck.work(limit, move || {
            let held =
                plan.container.as_ref().map(|container| Held::take(container, &cgroups)).transpose()?;
            let chosen = Chosen::by_policy(&plan, &deleters, pods.as_ref())?;
            let hand = Hand::new(Arc::clone(&plan), held, audit, halt, chosen)
                .map_err(|error| End::PolicyInvalid(error.to_string()))?;
            let notes = prefix_notes(&plan, &hand.view()?);
            Ok::<_, End>((hand, notes))
        });
        let (hand, notes) = begun.await??;
        self.hand = Some(hand);
        for note in notes {
            self.note(note);
        }
        Ok(())
    }

    fn request(&self) -> ScanRequest {
        let (plan, now) = (&self.plan, (self.wall)());
        ScanRequest {
            roots: plan.roots.clone(),
            junk: plan.policy.spec.junk.clone(),
            never: plan.never.clone(),
            settings: plan.policy.spec.scan.clone(),
            now: (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos()),
        }
    }

    async fn follow<S>(&mut self, scan: &mut impl Candidates, tools: &Tools<S>) -> End {
        loop {
            if let Err(end) = self.step(tools).await {
                return end;
            }
            if self.batch.is_empty()
                && !self.owes_last_try()
                && let Some(report) = &self.report
            {
                return end_of(report, scan);
            }
            let wants_more = self.report.is_none() && self.batch.len() < self.batch_limit();
            let heard = tokio::select! {
                () = self.halt.stop.cancelled() => Ok(()),
                () = tokio::time::sleep_until(self.wake_at(Instant::now()).into()) => Ok(()),
                message = scan.next(), if wants_more => self.hear(message),
            };
            if let Err(end) = heard {
                return end;
            }
        }
    }

    /// Whatever is due now.
    async fn step<S>(&mut self, tools: &Tools<S>) -> Result<(), End> {
        let now = Instant::now();
        self.halt.reached(now).map_or(Ok(()), Err)?;
        if now >= self.next_check {
            self.next_check = now + CONTAINER_RECHECK;
            self.hand.as_ref().map_or(Ok(()), Hand::check)?;
        }
        if self.batch_at(now).is_some_and(|at| now >= at) && self.may_start(now, tools)? {
            self.work_off(tools).await?;
        }
        Ok(())
    }

    fn hear(&mut self, message: Option<ScanMessage>) -> Result<(), End> {
        match message {
            Some(ScanMessage::Candidate(candidate)) => {
                let limit = self.plan.policy.spec.sweep.max_files;
                if self.tally.went() >= limit {
                    return Err(End::MaxFiles(limit));
                }
                self.batch_since.get_or_insert_with(Instant::now);
                self.batch.push(candidate);
            }
            Some(ScanMessage::Progress { entries, candidates }) => {
                self.tell(Event::ScanProgress { entries, candidates });
            }
            Some(ScanMessage::End(report)) => self.scan_ended(report),
            None => return Err(End::ScanFailed("the scan worker is gone".into())),
        }
        Ok(())
    }

    fn scan_ended(&mut self, report: ScanReport) {
        self.tally.add_kept(&report.kept);
        self.tell(Event::ScanEnded(report.clone()));
        self.report = Some(report);
    }

    /// Candidates of one batch: never more than `maxFiles` still allows.
    fn batch_limit(&self) -> usize {
        let settings = &self.plan.policy.spec.sweep;
        let left = settings.max_files.saturating_sub(self.tally.went());
        usize::try_from(left.min(u64::from(settings.batch_size))).unwrap_or(usize::MAX).max(1)
    }

    /// When the next batch may start, as far as the candidates and the pace go; `None`: there is nothing to do. Ready
    /// is a batch that is full, or the last one, or whose first candidate has waited for long enough.
    fn batch_at(&self, now: Instant) -> Option<Instant> {
        let ready = match self.batch_since {
            Some(since) if self.report.is_none() && self.batch.len() < self.batch_limit() => {
                since + BATCH_PATIENCE
            }
            Some(_) => now,
            None if self.owes_last_try() => now,
            None => return None,
        };
        Some(ready.max(self.halt.began + self.pace.due()))
    }

    /// Emptied directories that the scan was still reading get one more try when it has ended.
    fn owes_last_try(&self) -> bool {
        self.report.is_some() && !self.tried_last && self.hand.as_ref().is_some_and(Hand::has_pending)
    }

    fn wake_at(&self, now: Instant) -> Instant {
        self.batch_at(now).map_or(self.next_check, |batch| batch.min(self.next_check))
    }

    fn may_start<S>(&mut self, now: Instant, tools: &Tools<S>) -> Result<bool, End> {
        let clock = now - self.halt.began;
        let (level, psi) = self.pressure(tools)?;
        match self.pace.ask(clock, level) {
            Step::Go => {
                self.end_hold_up(now);
                Ok(true)
            }
            Step::Later(_) => {
                self.held_up_since.get_or_insert(now);
                if level == Level::Stalled {
                    self.tell(Event::Waiting { psi });
                }
                Ok(false)
            }
        }
    }

    fn end_hold_up(&mut self, now: Instant) {
        if let Some(since) = self.held_up_since.take() {
            self.tally.figures.pressure_wait_ms += milliseconds(now - since);
        }
    }

    /// The worse of the container's and the node's.
    fn pressure<S>(&self, tools: &Tools<S>) -> Result<(Level, Psi), End> {
        let missing = |error: KernelError| End::SignalMissing(error.to_string());
        let node = Psi::of_node().map_err(missing)?;
        let node = (Level::of(&node, &tools.node_pressure), node);
        let Some(container) = &self.plan.container else { return Ok(node) };
        let psi = match Psi::of_cgroup(&tools.cgroups.directory(&container.cgroup_path)) {
            Ok(psi) => psi,
            Err(error) => {
                // A cgroup that is gone with its container is no missing sign.
                self.hand.as_ref().map_or(Ok(()), Hand::check)?;
                return Err(missing(error));
            }
        };
        let own = (Level::of(&psi, &self.plan.policy.spec.sweep.max_pressure), psi);
        Ok(if node.0 > own.0 { node } else { own })
    }

    async fn work_off<S>(&mut self, tools: &Tools<S>) -> Result<(), End> {
        let Some(mut hand) = self.hand.take() else { return Err(End::Internal("no hand".into())) };
        self.tried_last = self.report.is_some() && self.batch.is_empty();
        let batch = std::mem::take(&mut self.batch);
        self.batch_since = None;
        let (start, now) = (Instant::now(), (self.wall)());
        self.first_batch.get_or_insert(start);
        let limit = self.halt.deadline().saturating_duration_since(start) + LAST_BATCH;
        let working = tools.stuck.work(limit, move || {
            let worked = hand.work(&batch, now);
            (hand, worked)
        });
        let (hand, worked) = working.await?;
        self.hand = Some(hand);
        self.worked(start, worked)
    }

    fn worked(&mut self, start: Instant, worked: Worked) -> Result<(), End> {
        let (began, end) = (self.halt.began, Instant::now());
        self.pace.ran(start - began, end - began);
        self.last_batch = Some(end);
        let (removed, would_remove) = (worked.tally.figures.removed, worked.tally.figures.would_remove);
        let kept = worked.tally.kept();
        self.tally.figures.batches += 1;
        for note in self.tally.add(worked.tally) {
            self.tell(Event::Note(note));
        }
        let number = self.tally.figures.batches;
        let next_pause = (began + self.pace.due()).saturating_duration_since(end);
        self.tell(Event::Batch { number, removed, would_remove, kept, took: end - start, next_pause });
        worked.end.map_or(Ok(()), Err)
    }

    fn note(&mut self, note: String) {
        if self.tally.note(note.clone()) {
            self.tell(Event::Note(note));
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens, or nobody keeps up: neither may hold up a sweep.
        let _ = self.events.try_send(event);
    }

    fn done(mut self, end: &End) -> Done {
        self.end_hold_up(Instant::now());
        let mut figures = self.tally.figures;
        let wall = self.first_batch.zip(self.last_batch).map(|(first, last)| last - first);
        figures.wall_ms = wall.map_or(0, milliseconds);
        let (outcome, reason, message) = (end.outcome(), end.reason(), end.message());
        // Who asked for the sweep tells its end at level info. Not "message": that is the line's own.
        tracing::debug!(sweep = %self.plan.id, ?outcome, reason, detail = message, "batches ended");
        Done {
            outcome,
            reason,
            message,
            scan: self.report,
            figures,
            notes: self.tally.notes,
            sample: self.tally.sample,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn end_of(report: &ScanReport, scan: &impl Candidates) -> End {
    match (report.end, scan.failure()) {
        (ScanEnd::WorkerFailed, Some(why)) => End::ScanFailed(why.to_owned()),
        (ScanEnd::WorkerFailed, None) => End::ScanFailed("the scan worker died or broke the protocol".into()),
        (end, _) => End::ScanEnded(end),
    }
}
