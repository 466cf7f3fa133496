//! From candidates to claims that the executor sees to: each is judged by the policy once more, and
//! "is it open?" is answered here, where a lease may be taken and `/proc` read.
//!
//! In: the candidates of a batch. Out: their fates. Must never: hold a lease for longer than one order takes.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{FileType, Mode, OFlags, open};
use rustix::io::Errno;

use super::super::audit::Fate;
use super::super::door::{Deed, after_failure};
use super::super::end::End;
use super::super::executor::{Bounds, Claimed, Lot, Tested};
use super::super::identity::{file_type, hold, look_at};
use super::super::lease::{Asked, Lease};
use super::super::open_files::{InUse, Reach, Wanted};
use super::super::view::{View, split};
use super::{Hand, Round};
use crate::inventory::VolumeKind;
use crate::policy::Action;
use crate::scan::Candidate;

/// What one order is made of.
#[derive(Default)]
struct Claims {
    all: Vec<Claimed>,
    leases: Vec<Lease>,
    /// Of each claim, its place in the batch.
    places: Vec<usize>,
    path_bytes: usize,
}

/// The agent's answer to "is it open?", with what backs it.
enum Test {
    Lease(Lease),
    Other(Tested),
}

impl Hand {
    /// Each candidate of a batch, in order.
    pub(super) fn pass_all(
        &mut self,
        view: &View,
        mut round: Round<'_>,
        fates: &mut [Fate],
    ) -> Result<(), End> {
        let (batch, bounds) = (round.batch, self.executor()?.bounds());
        let mut claims = Claims::default();
        for (place, candidate) in batch.iter().enumerate() {
            let Some((directory, name)) = split(&candidate.path) else { continue };
            if let Some(why) = self.stays(candidate, round.now)? {
                fates[place] = Fate::Kept(why);
                continue;
            }
            match self.test(view, directory, name, candidate, &mut round) {
                Ok(test) => claims.add(place, candidate, test),
                Err(fate) => {
                    fates[place] = fate;
                    self.judge(fate, candidate)?;
                }
            }
            if claims.are_enough(bounds) {
                self.pass(view, std::mem::take(&mut claims), &mut round, fates)?;
            }
        }
        self.pass(view, claims, &mut round, fates)
    }

    fn pass(
        &mut self,
        view: &View,
        claims: Claims,
        round: &mut Round<'_>,
        fates: &mut [Fate],
    ) -> Result<(), End> {
        self.must_go_on()?;
        let Claims { all, leases, places, .. } = claims;
        if all.is_empty() {
            return Ok(());
        }
        let handles: Vec<_> = leases.iter().map(Lease::handle).collect();
        let (deadline, streak) = (self.halt.deadline(), self.streak);
        let lot = Lot { claims: all, leases: &handles, now: round.now, deadline, streak };
        let passed = self.see_to(view, lot, round.tally)?;
        // What became of each first: that a doubt ends the sweep must not hide it.
        for (&place, &fate) in places.iter().zip(&passed.fates) {
            fates[place] = fate;
        }
        for (&place, &fate) in places.iter().zip(&passed.fates) {
            self.judge(fate, &round.batch[place])?;
        }
        if let Some(end) = passed.end {
            return Err(end);
        }
        if passed.fates.len() == places.len() {
            return Ok(());
        }
        self.must_go_on()?;
        Err(End::DeleterFailed("the executor stopped without a reason".into()))
    }

    /// Answers "is it open?", or says what became of it.
    fn test(
        &mut self,
        view: &View,
        directory: &[u8],
        name: &[u8],
        candidate: &Candidate,
        round: &mut Round<'_>,
    ) -> Result<Test, Fate> {
        if file_type(&candidate.identity) == FileType::Symlink {
            return Ok(Test::Other(Tested::None));
        }
        if self.may_lease(candidate) {
            match take_lease(view, directory, name, candidate)? {
                None => return Ok(Test::Other(Tested::None)),
                Some(Asked::Granted(lease)) => return Ok(Test::Lease(lease)),
                Some(Asked::InUse) => return Ok(Test::Other(Tested::InUse)),
                Some(Asked::Unknown(errno)) => self.no_leases(candidate, errno, round),
            }
        }
        Ok(Test::Other(self.walk(name, candidate, round)))
    }

    fn may_lease(&self, candidate: &Candidate) -> bool {
        file_type(&candidate.identity) == FileType::RegularFile
            && candidate.action == Action::Delete
            && !self.without_leases.contains(&candidate.identity.device)
    }

    fn no_leases(&mut self, candidate: &Candidate, errno: Errno, round: &mut Round<'_>) {
        let device = candidate.identity.device;
        round.tally.note(format!("NoLeases: {errno} (device {device}): looked for open files in /proc"));
        self.without_leases.insert(device);
        round.walk = None; // an earlier one was not asked for these files
    }

    fn walk(&self, name: &[u8], candidate: &Candidate, round: &mut Round<'_>) -> Tested {
        let batch = round.batch;
        let walk = round.walk.get_or_insert_with(|| {
            InUse::look(&self.wanted(batch), self.reach(batch.iter().map(|one| one.root)))
        });
        if let Some(doubt) = walk.doubt() {
            round.tally.note(format!("OpenFilesUnreadable: {doubt}"));
        }
        let held = match candidate.action {
            Action::Delete => walk.holds(name, &candidate.identity),
            Action::Truncate => walk.maps_or_locks(&candidate.identity),
        };
        if held { Tested::InUse } else { Tested::Walked(None) }
    }

    fn wanted(&self, batch: &[Candidate]) -> Wanted {
        let mut wanted = Wanted::default();
        for candidate in batch.iter().filter(|candidate| !self.may_lease(candidate)) {
            if let Some((_, name)) = split(&candidate.path) {
                wanted.file(name, &candidate.identity);
            }
        }
        wanted
    }

    pub(super) fn reach(&self, mut roots: impl Iterator<Item = u16>) -> Reach<'_> {
        let layer = |root| {
            self.plan.roots.get(usize::from(root)).is_some_and(|root| root.kind == VolumeKind::WritableLayer)
        };
        match &self.plan.container {
            Some(container) if roots.all(layer) => Reach::Cgroup(&container.cgroup_path),
            _ => Reach::Host,
        }
    }
}

impl Claims {
    fn add(&mut self, place: usize, candidate: &Candidate, test: Test) {
        let Some((directory, name)) = split(&candidate.path) else { return };
        let tested = match test {
            Test::Lease(lease) => {
                self.leases.push(lease);
                Tested::Lease
            }
            Test::Other(tested) => tested,
        };
        let deed = match candidate.action {
            Action::Delete => Deed::Delete,
            Action::Truncate => Deed::Truncate,
        };
        self.path_bytes += candidate.path.len();
        self.places.push(place);
        self.all.push(Claimed {
            root: candidate.root,
            directory: directory.to_vec(),
            name: name.to_vec(),
            identity: candidate.identity,
            deed,
            tested,
        });
    }

    fn are_enough(&self, bounds: Bounds) -> bool {
        self.all.len() >= bounds.claims || self.path_bytes >= bounds.path_bytes
    }
}

/// A write lease on the very file that was scanned. `None`: the name is something else by now; the door says what.
fn take_lease(
    view: &View,
    directory: &[u8],
    name: &[u8],
    candidate: &Candidate,
) -> Result<Option<Asked>, Fate> {
    let parent = view.upper_directory(candidate.root, directory)?;
    let entry = hold(parent.as_fd(), name).map_err(after_failure)?;
    if look_at(entry.as_fd()).map_err(after_failure)?.identity != candidate.identity {
        return Ok(None);
    }
    // Exactly the inode that the handle holds, whatever its name leads to by now.
    let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(after_failure)?;
    Ok(Some(Lease::ask(file)))
}
