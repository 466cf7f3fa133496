//! The two pipes between agent and scan worker. The worker has read what a stranger laid out: what it says is believed
//! only as far as it can be true.
//!
//! Input: a letter, then bytes. `r`: a request as the worker reads it from its pipe. `j`: a request's JSON. `m`:
//! messages as the agent reads them from its pipe. `s`: well-formed messages with anything in them.

#![no_main]

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use podsweep::fuzzing::{believed, encode_message, encode_request, read_request};
use podsweep::inventory::VolumeKind;
use podsweep::policy::{Action, JunkRule, ScanSettings};
use podsweep::scan::{Candidate, Identity, ScanEnd, ScanMessage, ScanReport, ScanRequest, ScanRoot};

/// What the request allows: few, so that the limit is reached.
const MAX_ENTRIES: u64 = 8;
/// Of the rules in the request, by number.
const ACTIONS: [Action; 2] = [Action::Delete, Action::Truncate];
/// In the request.
const ROOTS: usize = 2;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b'r', bytes)) => request(bytes),
        Some((b'j', json)) => {
            let length = u32::try_from(json.len()).expect("libFuzzer's inputs are short");
            request(&[&length.to_le_bytes(), json].concat());
        }
        Some((b'm', bytes)) => drop(messages(bytes)),
        Some((b's', bytes)) => well_formed(bytes),
        _ => {}
    }
});

/// What a worker reads, the agent can have written.
fn request(bytes: &[u8]) {
    if let Ok(Some(request)) = read_request(bytes) {
        let again = encode_request(&request).expect("what was read can be written");
        assert_eq!(read_request(&again).expect("and read again"), Some(request));
    }
}

fn messages(bytes: &[u8]) -> (Vec<ScanMessage>, Result<(), String>) {
    let (messages, end) = podsweep_fuzz::block_on(believed(bytes, &asked()));
    for message in &messages {
        match message {
            ScanMessage::Candidate(candidate) => can_be_true(candidate),
            ScanMessage::End(report) => assert_eq!(report.candidates, candidates(&messages)),
            ScanMessage::Progress { .. } => {}
        }
    }
    assert!(candidates(&messages) <= MAX_ENTRIES);
    (messages, end)
}

fn candidates(messages: &[ScanMessage]) -> u64 {
    messages.iter().filter(|message| matches!(message, ScanMessage::Candidate(_))).count() as u64
}

fn can_be_true(candidate: &Candidate) {
    assert!(usize::from(candidate.root) < ROOTS);
    assert_eq!(ACTIONS.get(usize::from(candidate.rule)), Some(&candidate.action));
    let path = Path::new(std::str::from_utf8(&candidate.path).unwrap_or("not/text"));
    assert!(!candidate.path.contains(&0) && !candidate.path.is_empty());
    assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    assert!(PathBuf::from("/upper").join(path).starts_with("/upper"), "{path:?}");
}

/// What honest framing carries arrives as it was sent, up to what is not believed.
fn well_formed(bytes: &[u8]) {
    let Ok(sent) = Vec::<Sent>::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let sent: Vec<ScanMessage> = sent.into_iter().map(Sent::message).collect();
    let frames: Result<Vec<Vec<u8>>, _> = sent.iter().map(encode_message).collect();
    let Ok(frames) = frames else { return };
    let (believed, end) = messages(&frames.concat());
    assert_eq!(believed, sent[..believed.len()]);
    let ended = matches!(believed.last(), Some(ScanMessage::End(_)));
    assert!(end.is_err() || ended || believed.len() == sent.len(), "dropped without a reason");
}

#[derive(Arbitrary)]
enum Sent {
    Candidate { root: u8, rule: u8, truncate: bool, path: Vec<u8>, numbers: [i64; 4] },
    Progress { entries: u64 },
    End { candidates: u8 },
}

impl Sent {
    fn message(self) -> ScanMessage {
        match self {
            Self::Progress { entries } => ScanMessage::Progress { entries, candidates: 0 },
            Self::End { candidates } => ScanMessage::End(report(candidates)),
            Self::Candidate { root, rule, truncate, path, numbers: [allocated, links, mtime, ctime] } => {
                let identity = Identity {
                    device: 1,
                    inode: 2,
                    mode: 0o100_644,
                    uid: 0,
                    gid: 0,
                    links: links.unsigned_abs(),
                    size: 0,
                    mtime: (mtime, 0),
                    ctime: (ctime, 0),
                };
                ScanMessage::Candidate(Candidate {
                    root: root.into(),
                    path,
                    rule: rule.into(),
                    action: ACTIONS[usize::from(truncate)],
                    identity,
                    allocated: allocated.unsigned_abs(),
                })
            }
        }
    }
}

fn report(candidates: u8) -> ScanReport {
    ScanReport {
        end: ScanEnd::Complete,
        entries: 0,
        directories: 0,
        candidates: candidates.into(),
        candidate_bytes: 0,
        kept: [].into(),
        errors: 0,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        throttled: Duration::ZERO,
        read_bytes: 0,
        reads: 0,
        limits: [].into(),
        missing_limits: Vec::new(),
    }
}

fn asked() -> ScanRequest {
    let root = |seen_at: &str| ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: "/upper".into(),
        seen_at: seen_at.into(),
        lower: Vec::new(),
        mounts: Vec::new(),
    };
    let rule = |action| JunkRule {
        action,
        ..serde_json::from_str(r#"{"name": "r", "paths": ["/tmp/**"]}"#).expect("a rule")
    };
    ScanRequest {
        roots: ["/", "/cache"].map(root).into(),
        junk: ACTIONS.map(rule).into(),
        never: Vec::new(),
        settings: ScanSettings { max_entries: MAX_ENTRIES, ..ScanSettings::default() },
        now: (0, 0),
    }
}
