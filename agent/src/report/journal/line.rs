//! The lines of the journal. Pure.

use std::fmt::Write;
use std::io;

use serde::Serialize;

use crate::policy::Action;
use crate::scan::Identity;
use crate::sweep::{AuditEntry, AuditResult, Fate};
use crate::text::harmless_json;

/// One line. `event` comes first in the text: a reader can tell the lines apart by their beginning.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(super) enum Line<'a> {
    Batch { time: String, sweep: &'a str, batch: u64, files: usize },
    File(File<'a>),
    Done { time: String, sweep: &'a str, batch: u64, removed: usize, truncated: usize, others: Vec<Other> },
    Interrupted { time: String, sweep: &'a str, batch: u64 },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File<'a> {
    sweep: &'a str,
    batch: u64,
    index: usize,
    #[serde(flatten)]
    path: Path<'a>,
    rule: &'a str,
    action: Action,
    #[serde(flatten)]
    identity: &'a Identity,
}

// A path is bytes; JSON has no bytes.
#[derive(Debug, Serialize)]
enum Path<'a> {
    #[serde(rename = "path")]
    Text(&'a str),
    #[serde(rename = "pathHex")]
    Bytes(String),
}

#[derive(Debug, Serialize)]
pub(super) struct Other {
    index: usize,
    result: Fate,
}

impl<'a> Line<'a> {
    pub(super) fn file(sweep: &'a str, batch: u64, index: usize, entry: &'a AuditEntry) -> Self {
        let AuditEntry { path, rule, action, identity } = entry;
        Self::File(File {
            sweep,
            batch,
            index,
            path: std::str::from_utf8(path).map_or_else(|_| Path::Bytes(hex(path)), Path::Text),
            rule,
            action: *action,
            identity,
        })
    }

    // Nearly all results are the first two kinds: these are counted, the others are listed.
    pub(super) fn done(time: String, sweep: &'a str, batch: u64, results: &[AuditResult]) -> Self {
        let count = |fate| results.iter().filter(|result| result.result == fate).count();
        let others = results
            .iter()
            .filter(|result| !matches!(result.result, Fate::Removed | Fate::Truncated))
            .map(|result| Other { index: result.index, result: result.result })
            .collect();
        Self::Done {
            time,
            sweep,
            batch,
            removed: count(Fate::Removed),
            truncated: count(Fate::Truncated),
            others,
        }
    }
}

pub(super) fn render<'a>(lines: impl IntoIterator<Item = Line<'a>>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(harmless_json(&serde_json::to_string(&line)?).as_bytes());
        text.push(b'\n');
    }
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
