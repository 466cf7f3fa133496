//! One batch: look again at what the sweep rests on, announce the batch, pass each file through the door, write down
//! what became of it. Blocking; runs off the async threads.
//!
//! Everything a batch opens in the container is closed when it ends.

mod emptied;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::audit::{Audit, AuditEntry, AuditResult, Fate};
use super::directories::{Areas, Pending};
use super::door::{self, Claim, Deed, NoLease, OpenTest};
use super::end::{End, Halt, enough};
use super::held::{Held, Lost};
use super::identity::file_type;
use super::open_files::{InUse, Reach, Wanted};
use super::plan::Plan;
use super::tally::Tally;
use super::view::{Parent, View, ViewError, split};
use crate::inventory::VolumeKind;
use crate::kernel::Free;
use crate::policy::{Action, Judgement, Junk, JunkError, Mode as PolicyMode};
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
    refusals: u32,
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

/// The handle of the directory that the last candidate was in; candidates come directory by directory.
#[derive(Default)]
struct Place<'a>(Option<(u16, &'a [u8], Result<Parent, Fate>)>);

impl Hand {
    /// `held` is `None` for plain directories only.
    pub(super) fn new(
        plan: Arc<Plan>,
        held: Option<Held>,
        audit: Arc<dyn Audit>,
        halt: Halt,
    ) -> Result<Self, JunkError> {
        let junk = Junk::compile(&plan.policy.spec.junk, &plan.never)?;
        let areas = Areas::new(&plan.policy.spec.junk, &plan.never);
        let (pending, without_leases) = (Pending::default(), BTreeSet::new());
        Ok(Self { plan, held, audit, halt, junk, areas, pending, refusals: 0, without_leases })
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
        worked
    }

    fn try_work(&mut self, candidates: &[Candidate], now: Duration, tally: &mut Tally) -> Result<(), End> {
        self.must_be_sound(candidates)?;
        self.must_not_be_enough(tally)?;
        let view = self.view()?;
        let entries: Vec<AuditEntry> = candidates.iter().map(|candidate| self.entry(candidate)).collect();
        self.announce(&entries)?;
        let mut fates = vec![Fate::NotTried; candidates.len()];
        let passed = self.pass_all(&view, Round { batch: candidates, now, walk: None, tally }, &mut fates);
        // Counted and written down first, whatever it was that ended the batch.
        for (candidate, fate) in candidates.iter().zip(&fates) {
            self.count(candidate, *fate, tally);
        }
        let written = self.write_down(&fates);
        passed.and(written)?;
        if self.acts() && !self.pending.is_empty() {
            self.remove_emptied(&view, now, tally)?;
        }
        Ok(())
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

    fn pass_all(&mut self, view: &View, mut round: Round<'_>, fates: &mut [Fate]) -> Result<(), End> {
        let mut place = Place::default();
        for (candidate, fate) in round.batch.iter().zip(fates) {
            self.must_go_on()?;
            let Some((directory, name)) = split(&candidate.path) else { continue };
            *fate = match self.stays(candidate, round.now)? {
                Some(why) => Fate::Kept(why),
                None => match place.of(view, candidate.root, directory) {
                    Ok(parent) => self.pass(parent, name, candidate, &mut round),
                    Err(fate) => *fate,
                },
            };
            self.refusals = count_refusals(self.refusals, *fate);
            self.judge(*fate, candidate)?;
        }
        Ok(())
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

    fn pass(&mut self, parent: &Parent, name: &[u8], candidate: &Candidate, round: &mut Round<'_>) -> Fate {
        if let Some(quick) = self.quick_test(candidate) {
            match door::pass(parent, &self.claim(name, candidate, round.now, quick)) {
                Ok(fate) => return fate,
                Err(NoLease(errno)) => {
                    let device = candidate.identity.device;
                    round
                        .tally
                        .note(format!("NoLeases: {errno} (device {device}): looked for open files in /proc"));
                    self.without_leases.insert(device);
                    round.walk = None; // an earlier one was not asked for these files
                }
            }
        }
        let walk = round.walk.get_or_insert_with(|| {
            InUse::look(&self.wanted(round.batch), self.reach(round.batch.iter().map(|one| one.root)))
        });
        if let Some(doubt) = walk.doubt() {
            round.tally.note(format!("OpenFilesUnreadable: {doubt}"));
        }
        let claim = self.claim(name, candidate, round.now, OpenTest::Walk(walk));
        door::pass(parent, &claim).unwrap_or(Fate::Kept(Kept::Open))
    }

    fn claim<'a>(
        &self,
        name: &'a [u8],
        candidate: &'a Candidate,
        now: Duration,
        open_test: OpenTest<'a>,
    ) -> Claim<'a> {
        let deed = match candidate.action {
            Action::Delete => Deed::Delete,
            Action::Truncate => Deed::Truncate,
        };
        Claim { name, identity: &candidate.identity, deed, open_test, now, act: self.acts() }
    }

    /// How to learn whether it is open without a walk over `/proc`, if that is possible.
    fn quick_test(&self, candidate: &Candidate) -> Option<OpenTest<'static>> {
        let leases = !self.without_leases.contains(&candidate.identity.device);
        match (file_type(&candidate.identity), candidate.action) {
            (FileType::Symlink, _) => Some(OpenTest::None),
            (FileType::RegularFile, Action::Delete) if leases => Some(OpenTest::Lease),
            _ => None,
        }
    }

    fn reach(&self, mut roots: impl Iterator<Item = u16>) -> Reach<'_> {
        let layer = |root| {
            self.plan.roots.get(usize::from(root)).is_some_and(|root| root.kind == VolumeKind::WritableLayer)
        };
        match &self.plan.container {
            Some(container) if roots.all(layer) => Reach::Cgroup(&container.cgroup_path),
            _ => Reach::Host,
        }
    }

    fn wanted(&self, batch: &[Candidate]) -> Wanted {
        let mut wanted = Wanted::default();
        for candidate in batch.iter().filter(|candidate| self.quick_test(candidate).is_none()) {
            if let Some((_, name)) = split(&candidate.path) {
                wanted.file(name, &candidate.identity);
            }
        }
        wanted
    }

    /// Whether this fate, the last of `self.refusals` in a row if it is one, ends the sweep.
    fn judge(&self, fate: Fate, candidate: &Candidate) -> Result<(), End> {
        let path =
            || String::from_utf8_lossy(&self.plan.seen_path(candidate.root, &candidate.path)).into_owned();
        match fate {
            Fate::Replaced => Err(End::Replaced(format!("{:?}", path()))),
            Fate::Refused(errno) => {
                let refusals = self.refusals;
                tracing::debug!(sweep = %self.plan.id, path = ?path(), errno, refusals, "the kernel refused");
                let limit = self.plan.policy.spec.breakers.sweep.errors.max(1);
                if refusals >= limit { Err(End::SweepBreaker { refusals, errno }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
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

impl<'a> Place<'a> {
    fn of(&mut self, view: &View, root: u16, directory: &'a [u8]) -> &Result<Parent, Fate> {
        let here = self.0.take().filter(|(at_root, at, parent)| {
            let shown = |parent: &Parent| view.still_shows(root, directory, parent);
            (*at_root, *at) == (root, directory) && parent.as_ref().is_ok_and(shown)
        });
        &self.0.insert(here.unwrap_or_else(|| (root, directory, view.parent(root, directory)))).2
    }
}

fn count_refusals(so_far: u32, fate: Fate) -> u32 {
    match fate {
        Fate::Refused(_) => so_far.saturating_add(1),
        Fate::Removed | Fate::Truncated | Fate::WouldGo => 0,
        _ => so_far, // the kernel was not asked to do anything
    }
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
