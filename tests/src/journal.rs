//! The audit journal as an auditor reads it: the lines alone, by nothing of podsweep's own code but their documented
//! form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// What the journal has of one file: everything that lstat shows of it, on the host's side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_mode`.
    pub mode: u32,
    /// `st_uid`.
    pub uid: u32,
    /// `st_gid`.
    pub gid: u32,
    /// `st_nlink`.
    pub links: u64,
    /// `st_size`.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Seconds and nanoseconds.
    pub ctime: (i64, i64),
}

impl Identity {
    /// Of a file as it is now; `None` where it is gone.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            mode: found.mode(),
            uid: found.uid(),
            gid: found.gid(),
            links: found.nlink(),
            size: found.size(),
            mtime: (found.mtime(), found.mtime_nsec()),
            ctime: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// One file that a batch announced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Announced {
    /// As the container saw it.
    pub path: String,
    /// The rule.
    pub rule: String,
    /// What it was.
    #[serde(flatten)]
    pub identity: Identity,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It has not: it is in flight, or the agent died in it.
    Open,
    /// By its own word; these of its files were not removed.
    Done {
        /// Indexes of the files that stay.
        others: BTreeSet<usize>,
        /// Files that it says are gone.
        removed: usize,
    },
    /// Marked so by a later agent.
    Interrupted,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its sweep.
    pub sweep: String,
    /// Files that its first line promises.
    pub promised: usize,
    /// Its files.
    pub files: Vec<Announced>,
    /// How it ended.
    pub end: End,
}

/// A journal: its batches by number, and lines that are no JSON.
#[derive(Debug, Default)]
pub struct Journal {
    /// By number.
    pub batches: BTreeMap<u64, Batch>,
    /// Torn lines.
    pub torn: Vec<String>,
}

impl Journal {
    /// The one in this state folder. The oldest file first.
    pub fn read(state: &Path) -> Result<Self> {
        let mut journal = Self::default();
        for file in files(state)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for line in text.lines() {
                match serde_json::from_str(line) {
                    Ok(value) => journal.add(&value).with_context(|| line.to_owned())?,
                    Err(_) => journal.torn.push(line.to_owned()),
                }
            }
        }
        Ok(journal)
    }

    /// Batches that have no end.
    pub fn open(&self) -> Vec<u64> {
        let open = self.batches.iter().filter(|(_, batch)| batch.end == End::Open);
        open.map(|(number, _)| *number).collect()
    }

    fn add(&mut self, line: &Value) -> Result<()> {
        let number = line["batch"].as_u64().context("no batch")?;
        let event = line["event"].as_str().context("no event")?;
        if event == "batch" {
            let sweep = line["sweep"].as_str().context("no sweep")?.to_owned();
            let promised = usize::try_from(line["files"].as_u64().context("no files")?)?;
            let batch = Batch { sweep, promised, files: Vec::new(), end: End::Open };
            if self.batches.insert(number, batch).is_some() {
                bail!("announced twice");
            }
            return Ok(());
        }
        let batch = self.batches.get_mut(&number).context("never announced")?;
        if batch.end != End::Open || line["sweep"] != batch.sweep {
            bail!("of another batch, or after its end: {batch:?}");
        }
        match event {
            "file" => batch.files.push(Announced::deserialize(line)?),
            "interrupted" => batch.end = End::Interrupted,
            "done" => batch.end = done(line)?,
            _ => bail!("unknown event"),
        }
        Ok(())
    }
}

fn done(line: &Value) -> Result<End> {
    let others = line["others"].as_array().context("no others")?;
    let index =
        |other: &Value| usize::try_from(other["index"].as_u64().context("no index")?).map_err(Into::into);
    let others = others.iter().map(index).collect::<Result<_>>()?;
    Ok(End::Done { others, removed: usize::try_from(line["removed"].as_u64().context("no removed")?)? })
}

fn files(state: &Path) -> Result<Vec<PathBuf>> {
    let mut rotated: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(state).with_context(|| state.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("audit.").and_then(|rest| rest.strip_suffix(".jsonl"));
        rotated.extend(number.and_then(|number| Some((number.parse().ok()?, state.join(&name)))));
    }
    rotated.sort_by(|one, other| other.cmp(one));
    let current = state.join("audit.jsonl");
    Ok(rotated.into_iter().map(|(_, path)| path).chain(current.exists().then_some(current)).collect())
}
