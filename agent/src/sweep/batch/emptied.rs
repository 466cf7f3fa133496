//! Directories that a batch emptied: deepest first, then those that this emptied in turn. A walk over `/proc` sees to
//! it that nobody works in one or has it open.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{Dir, Mode, OFlags, openat};

use super::super::audit::{AuditEntry, Fate};
use super::super::door::Deed;
use super::super::end::End;
use super::super::executor::{Claimed, Lot, Tested};
use super::super::identity::{hold, look, look_at};
use super::super::open_files::{InUse, Wanted};
use super::super::streak::Streak;
use super::super::tally::Tally;
use super::super::view::{View, split};
use super::Hand;
use crate::policy::Action;
use crate::scan::{Identity, Kept};

/// Levels of directories that one batch takes away above each other. More wait for the next batch.
const MAX_LEVELS: usize = 16;

/// An emptied directory that may go.
struct Emptied {
    root: u16,
    path: Vec<u8>,
    rule: u16,
    identity: Identity,
}

impl Hand {
    /// Deepest first, then the directories that this emptied in turn.
    pub(super) fn remove_emptied(
        &mut self,
        view: &View,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let mut in_use = Vec::new();
        for _ in 0..MAX_LEVELS {
            let emptied: Vec<Emptied> = self
                .pending
                .take()
                .into_iter()
                .filter_map(|(root, path, rule)| {
                    let identity = empty_directory(view, root, &path)?;
                    Some(Emptied { root, path, rule, identity })
                })
                .collect();
            if emptied.is_empty() {
                break;
            }
            in_use.extend(self.remove_level(view, &emptied, now, tally)?);
        }
        // Most likely the scan itself is still reading it; the last batch tries again.
        for (root, path, rule) in in_use {
            self.pending.add(root, &path, rule);
        }
        Ok(())
    }

    fn remove_level(
        &mut self,
        view: &View,
        emptied: &[Emptied],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<Vec<(u16, Vec<u8>, u16)>, End> {
        let entries: Vec<AuditEntry> = emptied.iter().map(|one| self.directory_entry(one)).collect();
        self.announce(&entries)?;
        let seen: Vec<_> = emptied.iter().map(|one| as_the_container_sees_it(view, one)).collect();
        let mut wanted = Wanted::default();
        seen.iter().flatten().for_each(|identity| wanted.directory(identity));
        let walk = InUse::look(&wanted, self.reach(emptied.iter().map(|one| one.root)));
        if let Some(doubt) = walk.doubt() {
            tally.note(format!("OpenFilesUnreadable: {doubt}"));
        }
        let mut fates = vec![Fate::NotTried; emptied.len()];
        let claims: Vec<_> =
            emptied.iter().zip(&seen).filter_map(|(one, seen)| claim(one, *seen, &walk)).collect();
        let passed = self.pass_directories(view, &claims, &mut fates, now, tally);
        let written = self.write_down(&fates);
        let mut in_use = Vec::new();
        for (one, fate) in emptied.iter().zip(&fates) {
            match fate {
                Fate::Removed => {
                    tally.figures.removed_directories += 1;
                    self.remember_parent(one.root, &one.path, one.rule);
                }
                Fate::Kept(Kept::Open) => in_use.push((one.root, one.path.clone(), one.rule)),
                _ => {}
            }
        }
        passed.and(written).map(|()| in_use)
    }

    /// Directories have no leases: as many at a time as one lot takes.
    fn pass_directories(
        &mut self,
        view: &View,
        claims: &[Claimed],
        fates: &mut [Fate],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let at_once = self.executor()?.bounds().claims;
        for (claims, fates) in claims.chunks(at_once).zip(fates.chunks_mut(at_once)) {
            self.must_go_on()?;
            // Refused is no more than "stays" to a directory: the streak is the files'.
            let (deadline, streak) = (self.halt.deadline(), Streak::new(u32::MAX));
            let lot = Lot { claims: claims.to_vec(), leases: &[], now, deadline, streak };
            let passed = self.see_to(view, lot, tally)?;
            fates.iter_mut().zip(passed.fates).for_each(|(fate, new)| *fate = new);
            if let Some(end) = passed.end {
                return Err(end);
            }
        }
        Ok(())
    }

    fn directory_entry(&self, one: &Emptied) -> AuditEntry {
        AuditEntry {
            path: self.plan.seen_path(one.root, &one.path),
            rule: self.rule_name(one.rule),
            action: Action::Delete,
            identity: one.identity,
        }
    }
}

/// What an empty directory of the upper layer is; `None` where it is not empty, or cannot be told.
fn empty_directory(view: &View, root: u16, path: &[u8]) -> Option<Identity> {
    let (above, name) = split(path)?;
    let parent = view.parent(root, above).ok()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(&parent.upper, name, flags, Mode::empty()).ok()?;
    let mut entries = Dir::read_from(&directory).ok()?;
    let empty =
        entries.all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
    empty.then(|| look(parent.upper.as_fd(), name).ok().map(|seen| seen.identity)).flatten()
}

fn as_the_container_sees_it(view: &View, one: &Emptied) -> Option<Identity> {
    let (above, name) = split(&one.path)?;
    let parent = view.parent(one.root, above).ok()?;
    let entry = hold(parent.merged.as_fd(), name).ok()?;
    look_at(entry.as_fd()).ok().map(|seen| seen.identity)
}

fn claim(one: &Emptied, seen: Option<Identity>, walk: &InUse) -> Option<Claimed> {
    let (directory, name) = split(&one.path)?;
    // One that is not seen was not asked for, so nobody can say that it is not in use.
    let in_use = seen.is_none_or(|seen| walk.holds(name, &seen));
    Some(Claimed {
        root: one.root,
        directory: directory.to_vec(),
        name: name.to_vec(),
        identity: one.identity,
        deed: Deed::RemoveDirectory,
        tested: if in_use { Tested::InUse } else { Tested::Walked(seen) },
    })
}
