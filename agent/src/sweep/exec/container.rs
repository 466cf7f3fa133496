//! The executor itself: clears names from outside, has `rm` remove them, looks from outside what became of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::audit::Fate;
use super::super::door::{self, Claim, Deed, OpenTest};
use super::super::end::End;
use super::super::executor::{Bounds, Claimed, Executor, Lot, Means, Passed, Tested};
use super::super::held::has_ended;
use super::super::identity::{hold, look_at};
use super::super::lease;
use super::super::plan::Plan;
use super::super::view::View;
use super::command::{PassablePath, RmCommand, as_many_as_fit};
use super::pod::{NotRun, PodContainer, PodExec, Ran};
use crate::scan::Kept;
use crate::text::is_harmless;

/// Names in one lot. Each name waits for the checks of those after it, and its lease is held meanwhile; each lot costs a
/// GET and an exec at the API server. Four lots are a batch of 200.
const MAX_NAMES: usize = 50;

/// Bytes of paths in one lot; what is too much for one command is seen to by several.
const MAX_PATHS: usize = 16 << 10;

/// Longest wait for a command; shorter where the sweep's time is up sooner. `rm` of 50 names takes milliseconds, the way
/// to it some 100 ms on an idle node; a sweep's last batch may take 35 s in all (`run::LAST_BATCH`).
const RM_WITHIN: Duration = Duration::from_secs(15);

/// Characters that are shown of what a container said.
const MAX_SAID: usize = 200;

/// What a name that `rm` has left there counts as: the kernel's own answer stays in the container.
const NOT_BY_RM: Fate = Fate::Refused(Errno::REMOTEIO.raw_os_error());

/// A sweep whose container can be asked.
#[derive(Debug, Clone)]
pub(in super::super) struct Prepared {
    plan: Arc<Plan>,
    pods: Arc<dyn PodExec>,
    at: PodContainer,
    means: Means,
    nice: bool,
}

impl Prepared {
    /// Finds out whether this sweep can be carried out: whether the container is a pod's, whether it is still the one
    /// that the API server knows, whether it has `rm` and `nice`. A dry run runs nothing there, so it asks less.
    pub(in super::super) fn of(
        plan: &Arc<Plan>,
        pods: Option<&Arc<dyn PodExec>>,
        means: Means,
    ) -> Result<Self, End> {
        let pods = pods.ok_or(End::ExecutorUnavailable("needs Kubernetes"))?;
        let at = plan.container.as_deref().and_then(PodContainer::of);
        let at = at.ok_or(End::ExecutorUnavailable("needs a container that the Kubernetes API knows"))?;
        let nice = match means {
            Means::Look => false,
            Means::Remove | Means::RemoveAndTruncate => {
                pods.must_be(&at).map_err(before_the_first)?;
                has_nice(&**pods, &at)?
            }
        };
        Ok(Self { plan: Arc::clone(plan), pods: Arc::clone(pods), at, means, nice })
    }

    /// The executor of one sweep.
    pub(in super::super) fn start(&self) -> Box<dyn Executor> {
        Box::new(InContainer { prepared: self.clone(), process: None, told: false })
    }
}

/// Whether there is `nice` besides `rm`.
fn has_nice(pods: &dyn PodExec, at: &PodContainer) -> Result<bool, End> {
    let mut said = String::new();
    for nice in [true, false] {
        let ran = pods.run(at, &RmCommand::nothing(nice), RM_WITHIN, &mut || ());
        let ran = ran.map_err(before_the_first)?;
        if ran.code == Some(0) {
            return Ok(nice);
        }
        said = ran.said;
    }
    Err(End::NoRm(shown(&said)))
}

fn before_the_first(not_run: NotRun) -> End {
    match not_run {
        NotRun::Forbidden(said) => End::ExecForbidden(said),
        other => in_the_middle(&other),
    }
}

fn in_the_middle(not_run: &NotRun) -> End {
    match not_run {
        NotRun::AnotherContainer(what) => End::ContainerChanged(what.clone()),
        other => End::ExecFailed(other.to_string()),
    }
}

struct InContainer {
    prepared: Prepared,
    /// The container's first process, for the length of a batch.
    process: Option<OwnedFd>,
    /// Whether what `rm` said was passed on: once is enough for people.
    told: bool,
}

/// A claim whose path can be passed on.
struct Named<'a> {
    /// Its place in the lot.
    place: usize,
    path: PassablePath,
    claimed: &'a Claimed,
    lease: Option<BorrowedFd<'a>>,
}

/// One that the door's checks have cleared.
struct Cleared<'a> {
    named: &'a Named<'a>,
    /// The file itself, on the host's side.
    file: OwnedFd,
}

impl Executor for InContainer {
    fn bounds(&self) -> Bounds {
        Bounds { claims: MAX_NAMES, path_bytes: MAX_PATHS }
    }

    fn begin_batch(&mut self, _: &View, process: Option<BorrowedFd<'_>>) -> Result<(), End> {
        let process = process.ok_or_else(|| End::Internal("a container that is not held".into()))?;
        let own = process.try_clone_to_owned();
        self.process =
            Some(own.map_err(|error| End::SignalMissing(format!("the container's pidfd: {error}")))?);
        Ok(())
    }

    fn pass(&mut self, view: &View, lot: Lot<'_>) -> Passed {
        let mut passed = Passed { fates: vec![Fate::NotTried; lot.claims.len()], ..Passed::default() };
        let named = self.named(&lot, &mut passed.fates);
        let mut rest = &named[..];
        while let Some(first) = rest.first() {
            if self.must_stop(lot.deadline) {
                passed.fates.truncate(first.place);
                return passed;
            }
            let (group, next) = rest.split_at(one_command(rest));
            match self.see_to(view, group, &lot, &mut passed) {
                Ok(true) => rest = next,
                Ok(false) => {
                    passed.fates.truncate(first.place);
                    return passed;
                }
                Err(end) => return Passed { end: Some(end), ..passed },
            }
        }
        passed
    }

    fn end_batch(&mut self) -> Result<(), End> {
        self.process = None;
        Ok(())
    }
}

impl InContainer {
    /// Claims that can be passed on; of the others the fate.
    fn named<'a>(&self, lot: &'a Lot<'_>, fates: &mut [Fate]) -> Vec<Named<'a>> {
        let mut leases = lot.leases.iter();
        let mut named = Vec::with_capacity(lot.claims.len());
        for (place, claimed) in lot.claims.iter().enumerate() {
            let lease = if claimed.tested == Tested::Lease { leases.next().copied() } else { None };
            if claimed.deed == Deed::Truncate {
                fates[place] = Fate::Refused(Errno::NOTSUP.raw_os_error()); // such a policy is refused when it is read
                continue;
            }
            match PassablePath::new(self.seen_path(claimed)) {
                Some(path) => named.push(Named { place, path, claimed, lease }),
                None => fates[place] = Fate::Kept(Kept::NotPassable),
            }
        }
        named
    }

    fn seen_path(&self, claimed: &Claimed) -> Vec<u8> {
        let mut path = claimed.directory.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&claimed.name);
        self.prepared.plan.seen_path(claimed.root, &path)
    }

    /// One command's names, from the first check to the last look. False: it stopped before the command.
    fn see_to(
        &mut self,
        view: &View,
        group: &[Named<'_>],
        lot: &Lot<'_>,
        passed: &mut Passed,
    ) -> Result<bool, End> {
        let looks_only = self.prepared.means == Means::Look;
        if !looks_only {
            self.prepared.pods.must_be(&self.prepared.at).map_err(|not_run| in_the_middle(&not_run))?;
        }
        let mut cleared = Vec::with_capacity(group.len());
        for named in group {
            match clear(view, named, lot.now) {
                Ok(_) if looks_only => passed.fates[named.place] = Fate::WouldGo,
                Ok(file) => cleared.push(Cleared { named, file }),
                Err(fate) => passed.fates[named.place] = fate,
            }
        }
        if cleared.is_empty() {
            return Ok(true);
        }
        if self.must_stop(lot.deadline) {
            return Ok(false);
        }
        let ran = self.remove(&cleared, lot.deadline);
        for one in &cleared {
            passed.fates[one.named.place] = look_after(view, one, ran.is_ok());
        }
        let Ran { code, said } = ran.map_err(|not_run| in_the_middle(&not_run))?;
        if code.is_none() {
            // It could be started before. Too many processes, no memory: a later try may find it otherwise.
            return Err(End::ExecFailed(shown(&said)));
        }
        let left = cleared.iter().any(|one| passed.fates[one.named.place] == NOT_BY_RM);
        if left && !std::mem::replace(&mut self.told, true) {
            passed.note = Some(format!("RmSaid: {}", shown(&said)));
        }
        Ok(true)
    }

    /// Has `rm` remove them. Whether it did is for the host to see.
    fn remove(&self, cleared: &[Cleared<'_>], deadline: Instant) -> Result<Ran, NotRun> {
        let Prepared { pods, at, nice, .. } = &self.prepared;
        let deed = cleared.first().map_or(Deed::Delete, |first| first.named.claimed.deed);
        let paths = cleared.iter().map(|one| one.named.path.clone());
        let command = RmCommand::remove(deed, *nice, paths);
        let within = RM_WITHIN.min(deadline.saturating_duration_since(Instant::now()));
        let leases: Vec<_> = cleared.iter().filter_map(|one| one.named.lease).collect();
        let mut meanwhile = || leases.iter().for_each(|leased| let_openers_in(*leased));
        pods.run(at, &command, within, &mut meanwhile)
    }

    /// A container that has ended may be started again under the same names.
    fn must_stop(&self, deadline: Instant) -> bool {
        Instant::now() >= deadline || self.process.as_ref().is_some_and(|process| has_ended(process.as_fd()))
    }
}

/// How many one command takes: of one deed, and as many names as fit.
fn one_command(named: &[Named<'_>]) -> usize {
    let deed = |one: &Named<'_>| one.claimed.deed;
    let alike = named.iter().take_while(|one| named.first().is_some_and(|first| deed(first) == deed(one)));
    as_many_as_fit(alike.map(|one| &one.path))
}

/// The checks of the door, every one of them.
fn clear(view: &View, named: &Named<'_>, now: Duration) -> Result<OwnedFd, Fate> {
    let Claimed { root, directory, name, identity, deed, tested } = named.claimed;
    let open_test = match (*tested, named.lease) {
        (Tested::Lease, Some(lease)) => OpenTest::Lease(lease),
        (Tested::Walked(directory), _) => OpenTest::Walked(directory),
        (Tested::None, _) => OpenTest::None,
        (Tested::InUse | Tested::Lease, _) => OpenTest::InUse,
    };
    let parent = view.parent(*root, directory)?;
    let claim = Claim { name, identity, deed: *deed, open_test, now };
    door::clear(&parent, &claim).map(|cleared| cleared.upper)
}

/// A lease makes who opens the file wait: microseconds at the door, but here for as long as a program takes to start in
/// the container. So it is given back at once.
fn let_openers_in(leased: BorrowedFd<'_>) {
    if !lease::is_whole(leased) {
        lease::give_up(leased);
    }
}

/// What became of a name that was given to `rm`. `ran`: whether it ended.
fn look_after(view: &View, one: &Cleared<'_>, ran: bool) -> Fate {
    let Claimed { root, directory, name, identity, deed, .. } = one.named.claimed;
    if look_at(one.file.as_fd()).is_ok_and(|seen| seen.identity.links == 0) {
        return Fate::Removed;
    }
    let at_its_name = view
        .upper_directory(*root, directory)
        .ok()
        .and_then(|parent| hold(parent.as_fd(), name).ok())
        .and_then(|entry| look_at(entry.as_fd()).ok())
        .map(|seen| (seen.identity.device, seen.identity.inode));
    match (at_its_name, deed) {
        (Some(found), _) if found == (identity.device, identity.inode) => {
            if ran {
                NOT_BY_RM
            } else {
                Fate::Unknown
            }
        }
        // Moved, and perhaps another made since: no harm, since only an empty one goes.
        (_, Deed::RemoveDirectory) => Fate::Kept(Kept::Changed),
        // It lives on under another name. Whether this one was another file's when `rm` came, nobody can tell.
        (_, Deed::Delete | Deed::Truncate) => Fate::Replaced,
    }
}

/// A container's own words, made harmless and short.
fn shown(said: &str) -> String {
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.chars().map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).take(MAX_SAID).collect()
}
