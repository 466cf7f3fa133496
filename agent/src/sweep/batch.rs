//! One batch: look again at what the sweep rests on, announce the batch, have the executor see to each file, write down
//! what became of it. Blocking; runs off the async threads.
//!
//! Everything a batch opens in the container is closed when it ends.

mod claims;
mod emptied;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audit::{Audit, AuditEntry, AuditResult, Fate};
use super::directories::{Areas, Pending};
use super::end::{End, Halt, enough};
use super::executor::{Chosen, Executor, Lot, Passed};
use super::held::{Held, Lost};
use super::open_files::InUse;
use super::plan::Plan;
use super::streak::Streak;
use super::tally::Tally;
use super::view::{View, ViewError, split};
use crate::kernel::Free;
use crate::policy::{Executor as By, Judgement, Junk, JunkError, Mode as PolicyMode};
use crate::scan::{Candidate, Kept, facts};

/// What one sweep carries from batch to batch.
pub(super) struct Hand {
    plan: Arc<Plan>,
    held: Option<Held>,
    audit: Arc<dyn Audit>,
    halt: Halt,
    /// Judged again here: what a worker that was taken over by a hostile name might say is not enough.
    junk: Junk,
    areas: Areas,
    pending: Pending,
    streak: Streak,
    chosen: Chosen,
    /// Started with the first batch.
    executor: Option<Box<dyn Executor>>,
    /// Devices whose filesystem gives no leases: at most one per root.
    without_leases: BTreeSet<u64>,
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Worked {
    /// Figures, notes and sample of this batch.
    pub(super) tally: Tally,
    /// Set when the sweep must not go on.
    pub(super) end: Option<End>,
}

/// What the files of one batch have in common.
struct Round<'a> {
    batch: &'a [Candidate],
    now: Duration,
    walk: Option<InUse>,
    tally: &'a mut Tally,
}

impl Hand {
    /// `held` is `None` for plain directories only.
    pub(super) fn new(
        plan: Arc<Plan>,
        held: Option<Held>,
        audit: Arc<dyn Audit>,
        halt: Halt,
        chosen: Chosen,
    ) -> Result<Self, JunkError> {
        let junk = Junk::compile(&plan.policy.spec.junk, &plan.never)?;
        let areas = Areas::new(&plan.policy.spec.junk, &plan.never);
        let (pending, without_leases) = (Pending::default(), BTreeSet::new());
        let streak = Streak::new(plan.policy.spec.breakers.sweep.errors.max(1));
        let executor = None;
        Ok(Self { plan, held, audit, halt, junk, areas, pending, streak, chosen, executor, without_leases })
    }

    /// Opens the container's view, having checked that it is still that container.
    pub(super) fn view(&self) -> Result<View, End> {
        let view = match (&self.plan.container, &self.held) {
            (None, _) => View::of_directories(&self.plan.roots),
            (Some(container), Some(held)) => {
                held.check().map_err(End::from)?;
                View::of_container(&self.plan.roots, container, held)
            }
            (Some(_), None) => return Err(End::Internal("a container that is not held".into())),
        };
        view.map_err(End::from)
    }

    /// Whether the container is still the same.
    pub(super) fn check(&self) -> Result<(), End> {
        self.held.as_ref().map_or(Ok(()), Held::check).map_err(End::from)
    }

    /// Whether directories wait for another try.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// One batch. `now` is the wall clock, since 1970.
    pub(super) fn work(&mut self, candidates: &[Candidate], now: Duration) -> Worked {
        let mut worked = Worked::default();
        worked.end = self.try_work(candidates, now, &mut worked.tally).err();
        if worked.end.is_some() {
            // It may hold the view of a container that has ended: a runtime that starts it again must not wait for the
            // rest of this sweep.
            self.executor = None;
        }
        worked
    }

    fn try_work(&mut self, candidates: &[Candidate], now: Duration, tally: &mut Tally) -> Result<(), End> {
        self.must_be_sound(candidates)?;
        self.must_not_be_enough(tally)?;
        let view = self.view()?;
        let entries: Vec<AuditEntry> = candidates.iter().map(|candidate| self.entry(candidate)).collect();
        self.announce(&entries)?;
        let mut fates = vec![Fate::NotTried; candidates.len()];
        let round = Round { batch: candidates, now, walk: None, tally };
        let passed = self.show(&view).and_then(|()| self.pass_all(&view, round, &mut fates));
        // Counted and written down first, whatever it was that ended the batch.
        for (candidate, fate) in candidates.iter().zip(&fates) {
            self.count(candidate, *fate, tally);
        }
        let written = self.write_down(&fates);
        passed.and(written)?;
        if self.acts() && !self.pending.is_empty() {
            self.remove_emptied(&view, now, tally)?;
        }
        self.executor()?.end_batch()
    }

    /// Hands the view to the executor. Whatever ends the batch early ends the sweep, and the executor with it.
    fn show(&mut self, view: &View) -> Result<(), End> {
        if self.executor.is_none() {
            self.executor = Some(self.chosen.start(&self.plan)?);
        }
        let process = self.held.as_ref().map(Held::process);
        self.executor.as_mut().ok_or_else(no_executor)?.begin_batch(view, process)
    }

    fn executor(&mut self) -> Result<&mut (dyn Executor + 'static), End> {
        self.executor.as_deref_mut().ok_or_else(no_executor)
    }

    /// Has a lot seen to, and takes up what it is to be told besides the fates.
    fn see_to(&mut self, view: &View, lot: Lot<'_>, tally: &mut Tally) -> Result<Passed, End> {
        let mut passed = self.executor()?.pass(view, lot);
        if let Some(note) = passed.note.take() {
            tally.note(note);
        }
        Ok(passed)
    }

    fn acts(&self) -> bool {
        self.plan.mode == PolicyMode::Enforce
    }

    /// The worker parses hostile names; what it says is checked before it is believed.
    fn must_be_sound(&self, candidates: &[Candidate]) -> Result<(), End> {
        let rules = &self.plan.policy.spec.junk;
        let sound = |candidate: &Candidate| {
            usize::from(candidate.root) < self.plan.roots.len()
                && rules.get(usize::from(candidate.rule)).is_some_and(|rule| rule.action == candidate.action)
                && split(&candidate.path).is_some()
        };
        let unsound = candidates.iter().find(|candidate| !sound(candidate));
        unsound.map_or(Ok(()), |candidate| Err(self.not_believed(candidate)))
    }

    fn must_not_be_enough(&self, tally: &mut Tally) -> Result<(), End> {
        let wanted = &self.plan.policy.spec.sweep.stop_when;
        if wanted.node_inodes_free.is_none() && wanted.node_bytes_free.is_none() {
            return Ok(());
        }
        let Some(root) = self.plan.roots.first() else { return Ok(()) };
        let free = Free::of(&root.host).map_err(|error| End::SignalMissing(error.to_string()))?;
        match enough(&free, wanted) {
            Some(what) if self.acts() => Err(End::StopWhen(what)),
            Some(what) => {
                tally.note(format!("StopWhen: Enforce would end here: {what}"));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn entry(&self, candidate: &Candidate) -> AuditEntry {
        AuditEntry {
            path: self.plan.seen_path(candidate.root, &candidate.path),
            rule: self.rule_name(candidate.rule),
            action: candidate.action,
            identity: candidate.identity,
        }
    }

    fn rule_name(&self, rule: u16) -> String {
        self.plan.policy.spec.junk.get(usize::from(rule)).map(|rule| rule.name.clone()).unwrap_or_default()
    }

    fn announce(&self, entries: &[AuditEntry]) -> Result<(), End> {
        if !self.acts() || entries.is_empty() {
            return Ok(());
        }
        self.audit
            .will_remove(&self.plan.id, entries)
            .map_err(|error| End::AuditUnavailable(error.to_string()))
    }

    fn write_down(&self, fates: &[Fate]) -> Result<(), End> {
        if !self.acts() || fates.is_empty() {
            return Ok(());
        }
        let results: Vec<_> =
            fates.iter().enumerate().map(|(index, &result)| AuditResult { index, result }).collect();
        self.audit.done(&self.plan.id, &results).map_err(|error| End::AuditUnavailable(error.to_string()))
    }

    /// The policy's own word on a candidate: why it stays, or `None`. One that no rule covers ends the sweep.
    fn stays(&self, candidate: &Candidate, now: Duration) -> Result<Option<Kept>, End> {
        let kind = self.plan.roots.get(usize::from(candidate.root)).map(|root| root.kind);
        let path = self.plan.seen_path(candidate.root, &candidate.path);
        let now = (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos());
        let facts = facts(&candidate.identity);
        match kind.map(|kind| self.junk.judge(kind, &path, &facts, now)) {
            Some(Judgement::Junk { action, .. }) if action == candidate.action => Ok(None),
            Some(Judgement::Kept(why)) => Ok(Some(why)),
            _ => Err(self.not_believed(candidate)),
        }
    }

    fn not_believed(&self, candidate: &Candidate) -> End {
        tracing::error!(sweep = %self.plan.id, ?candidate, "the scan worker named what it was not asked for");
        End::ScanNotBelieved
    }

    /// Asked before every file: a container that has ended may be started again on the same upper directory.
    fn must_go_on(&self) -> Result<(), End> {
        if let Some(end) = self.halt.reached(Instant::now()) {
            return Err(end);
        }
        if self.held.as_ref().is_some_and(Held::ended) {
            return Err(End::ContainerChanged("its first process has ended".into()));
        }
        Ok(())
    }

    /// Counts a fate among the refusals in a row if it is one; an error where it ends the sweep.
    fn judge(&mut self, fate: Fate, candidate: &Candidate) -> Result<(), End> {
        self.streak.count(fate);
        let path =
            || String::from_utf8_lossy(&self.plan.seen_path(candidate.root, &candidate.path)).into_owned();
        match fate {
            Fate::Replaced => Err(self.replaced(&path())),
            Fate::Refused(errno) => {
                let refusals = self.streak.refusals;
                tracing::debug!(sweep = %self.plan.id, path = ?path(), errno, refusals, "the kernel refused");
                if self.streak.is_broken() { Err(End::SweepBreaker { refusals, errno }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn replaced(&self, path: &str) -> End {
        let where_to_look = match self.plan.policy.spec.sweep.executor {
            By::Host => {
                "look for it beside that, under a name that begins with .podsweep-; where there is none, it is gone"
            }
            By::Exec => "the scanned file lives on under another name; what took this one may be gone",
        };
        End::Replaced(format!(
            "{path:?}: another file took this name in the moment of its removal; {where_to_look}"
        ))
    }

    fn count(&mut self, candidate: &Candidate, fate: Fate, tally: &mut Tally) {
        tally.count(fate, candidate.allocated);
        if fate == Fate::WouldGo {
            let path = self.plan.seen_path(candidate.root, &candidate.path);
            tally.sample(path, self.rule_name(candidate.rule), candidate.allocated);
        }
        if fate == Fate::Removed {
            self.remember_parent(candidate.root, &candidate.path, candidate.rule);
        }
    }

    fn remember_parent(&mut self, root: u16, path: &[u8], rule: u16) {
        let Some((directory, _)) = split(path) else { return };
        if !directory.is_empty() && self.areas.contains(rule, &self.plan.seen_path(root, directory)) {
            self.pending.add(root, directory, rule);
        }
    }
}

fn no_executor() -> End {
    End::Internal("a batch without an executor".into())
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unreadable(error) => Self::SignalMissing(error.to_string()),
            other => Self::ContainerChanged(other.to_string()),
        }
    }
}

impl From<ViewError> for End {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Lost(lost) => lost.into(),
            other => Self::ViewDiffers(other.to_string()),
        }
    }
}
