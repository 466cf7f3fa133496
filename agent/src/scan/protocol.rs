//! What the agent believes of the worker: the worker has parsed what a container's owner laid out, so each message is
//! checked against the request before anyone acts on it. Pure.
//!
//! In: messages. Out: whether they can be true; a report of what was heard, for a worker that cannot give one.

use super::{Candidate, ScanEnd, ScanMessage, ScanReport, ScanRequest};
use crate::policy::Action;

/// What was asked, and what was heard so far.
#[derive(Debug)]
pub(crate) struct Checked {
    roots: usize,
    actions: Vec<Action>,
    max_entries: u64,
    heard: ScanReport,
}

impl Checked {
    pub(crate) fn new(request: &ScanRequest) -> Self {
        Self {
            roots: request.roots.len(),
            actions: request.junk.iter().map(|rule| rule.action).collect(),
            max_entries: request.settings.max_entries,
            heard: ScanReport::empty(ScanEnd::WorkerFailed),
        }
    }

    /// Counts a message; an error says what no honest worker would send.
    pub(crate) fn check(&mut self, message: &ScanMessage) -> Result<(), String> {
        match message {
            ScanMessage::Candidate(candidate) => self.candidate(candidate),
            ScanMessage::Progress { entries, .. } => {
                self.heard.entries = *entries;
                Ok(())
            }
            ScanMessage::End(report) if report.candidates != self.heard.candidates => {
                Err(format!("it reports {} candidates and sent {}", report.candidates, self.heard.candidates))
            }
            ScanMessage::End(_) => Ok(()),
        }
    }

    /// What was heard, ended so.
    pub(super) fn report(&self, end: ScanEnd) -> ScanReport {
        ScanReport { end, ..self.heard.clone() }
    }

    fn candidate(&mut self, candidate: &Candidate) -> Result<(), String> {
        self.heard.candidates += 1;
        // Each is an entry, and the next progress may never come.
        self.heard.entries = self.heard.entries.max(self.heard.candidates);
        self.heard.candidate_bytes = self.heard.candidate_bytes.saturating_add(candidate.allocated);
        if self.heard.candidates > self.max_entries {
            return Err(format!("it sent more candidates than maxEntries ({})", self.max_entries));
        }
        if usize::from(candidate.root) >= self.roots {
            return Err(format!("it sent a candidate of root {}, of {}", candidate.root, self.roots));
        }
        if self.actions.get(usize::from(candidate.rule)) != Some(&candidate.action) {
            return Err(format!(
                "it sent a candidate of rule {}, which asks for no such thing",
                candidate.rule
            ));
        }
        if is_below_root(&candidate.path) {
            Ok(())
        } else {
            Err("it sent a path that does not stay below its root".to_owned())
        }
    }
}

fn is_below_root(path: &[u8]) -> bool {
    !path.contains(&0)
        && path.split(|&byte| byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Identity, ScanRoot};
    use super::*;
    use crate::inventory::VolumeKind;
    use crate::policy::{JunkRule, ScanSettings};
    use crate::units::{Bytes, Span};

    fn checked() -> Checked {
        let root = ScanRoot {
            kind: VolumeKind::WritableLayer,
            host: PathBuf::from("/upper"),
            seen_at: PathBuf::from("/"),
            lower: vec![],
            mounts: vec![],
        };
        let rule = JunkRule {
            name: "r".into(),
            paths: vec!["/tmp/**".into()],
            exclude: vec![],
            volumes: vec![VolumeKind::WritableLayer],
            types: vec![],
            older_than: Span::from_secs(60),
            min_size: Bytes(0),
            keep_newest: 0,
            owners: vec![],
            empty_directories: false,
            action: Action::Delete,
            i_know_this_is_broad: false,
        };
        let settings = ScanSettings { max_entries: 2, ..ScanSettings::default() };
        let request =
            ScanRequest { roots: vec![root], junk: vec![rule], never: vec![], settings, now: (0, 0) };
        Checked::new(&request)
    }

    fn candidate(path: &[u8], root: u16, rule: u16, action: Action) -> ScanMessage {
        let identity = Identity {
            device: 1,
            inode: 1,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            mtime: (0, 0),
            ctime: (0, 0),
        };
        ScanMessage::Candidate(Candidate {
            root,
            path: path.to_vec(),
            rule,
            action,
            identity,
            allocated: 512,
        })
    }

    #[test]
    fn an_honest_candidate_passes_until_the_limit() {
        let mut checked = checked();
        let honest = candidate(b"tmp/a\nb\xff", 0, 0, Action::Delete);
        assert_eq!(checked.check(&honest), Ok(()));
        assert_eq!(checked.check(&honest), Ok(()));
        assert!(checked.check(&honest).is_err(), "a third, where maxEntries is 2");
        let heard = checked.report(ScanEnd::Cancelled);
        assert_eq!((heard.candidate_bytes, heard.entries), (3 * 512, 3));
    }

    #[test]
    fn a_path_that_leaves_its_root_is_refused() {
        for path in [&b"/etc/passwd"[..], b"../x", b"tmp/../../x", b"tmp//x", b"tmp/", b"", b".", b"a\0b"] {
            let refused = checked().check(&candidate(path, 0, 0, Action::Delete));
            assert!(refused.is_err(), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_root_rule_or_action_that_was_not_asked_for_is_refused() {
        assert!(checked().check(&candidate(b"x", 1, 0, Action::Delete)).is_err());
        assert!(checked().check(&candidate(b"x", 0, 1, Action::Delete)).is_err());
        assert!(checked().check(&candidate(b"x", 0, 0, Action::Truncate)).is_err());
    }

    #[test]
    fn a_report_must_add_up() {
        let mut report = ScanReport::empty(ScanEnd::Complete);
        assert_eq!(checked().check(&ScanMessage::End(report.clone())), Ok(()));
        report.candidates = 1;
        assert!(checked().check(&ScanMessage::End(report)).is_err());
    }
}
