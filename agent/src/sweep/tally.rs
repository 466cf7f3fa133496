//! Figures of a sweep, added up batch by batch. Pure.

use super::audit::Fate;
use crate::report::SweepFigures;
use crate::scan::{Kept, KeptCounts};

/// Files that a dry run names, at most. Each path is at most 4096 bytes (`PATH_MAX`), so 4 MB at worst.
pub const SAMPLE: usize = 1000;
/// Notes of one sweep, at most; the same note is kept once.
const MAX_NOTES: usize = 64;

/// Figures, notes and sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Figures.
    pub(super) figures: SweepFigures,
    /// Things an author of policies should know.
    pub(super) notes: Vec<String>,
    /// Path as the container sees it, rule, bytes on disk.
    pub(super) sample: Vec<(Vec<u8>, String, u64)>,
}

impl Tally {
    /// What became of one file that holds `bytes` on disk.
    pub(super) fn count(&mut self, fate: Fate, bytes: u64) {
        let figures = &mut self.figures;
        match fate {
            Fate::Removed | Fate::Truncated => {
                figures.removed += 1;
                figures.removed_bytes += bytes;
            }
            Fate::WouldGo => {
                figures.would_remove += 1;
                figures.would_remove_bytes += bytes;
            }
            Fate::Gone => figures.gone += 1,
            Fate::Kept(why) => *figures.kept.entry(why).or_default() += 1,
            Fate::Refused(_) => *figures.kept.entry(Kept::Refused).or_default() += 1,
            Fate::Replaced => *figures.kept.entry(Kept::Changed).or_default() += 1,
            Fate::NotTried | Fate::Unknown => {}
        }
    }

    /// Adds a note, once. True where it is new.
    pub(super) fn note(&mut self, note: String) -> bool {
        let new = self.notes.len() < MAX_NOTES && !self.notes.contains(&note);
        if new {
            self.notes.push(note);
        }
        new
    }

    /// Adds to the sample while there is room.
    pub(super) fn sample(&mut self, path: Vec<u8>, rule: String, bytes: u64) {
        if self.sample.len() < SAMPLE {
            self.sample.push((path, rule, bytes));
        }
    }

    /// Adds a batch. Returns its notes that are new.
    pub(super) fn add(&mut self, batch: Self) -> Vec<String> {
        let (mine, theirs) = (&mut self.figures, batch.figures);
        mine.removed += theirs.removed;
        mine.removed_bytes += theirs.removed_bytes;
        mine.removed_directories += theirs.removed_directories;
        mine.would_remove += theirs.would_remove;
        mine.would_remove_bytes += theirs.would_remove_bytes;
        mine.gone += theirs.gone;
        self.add_kept(&theirs.kept);
        for (path, rule, bytes) in batch.sample {
            self.sample(path, rule, bytes);
        }
        batch.notes.into_iter().filter(|note| self.note(note.clone())).collect()
    }

    /// Files that the scan or a batch kept.
    pub(super) fn add_kept(&mut self, kept: &KeptCounts) {
        for (why, count) in kept {
            *self.figures.kept.entry(*why).or_default() += count;
        }
    }

    /// Files removed, or that a dry run would remove: what `maxFiles` bounds.
    pub(super) fn went(&self) -> u64 {
        self.figures.removed + self.figures.would_remove
    }

    /// Files kept, for any reason.
    pub(super) fn kept(&self) -> u64 {
        self.figures.kept.values().sum()
    }
}
