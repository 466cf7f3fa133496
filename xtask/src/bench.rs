//! Measurements that anyone can repeat. Prints the command beside each figure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::command::{built, step};

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// `podsweep scan dir:` against `find`, on a tree of 200,000 files.
    Scan,
}

const DIRECTORIES: u32 = 200;
const FILES_EACH: u32 = 1000;
/// The best of so many: the machine's own noise only ever adds.
const RUNS: u32 = 3;

/// Measures.
pub(crate) fn run(what: What) -> Result<()> {
    match what {
        What::Scan => scan(),
    }
}

fn scan() -> Result<()> {
    let tree = Tree::make()?;
    let folder = tree.path.to_string_lossy().into_owned();
    let podsweep = built("release", "podsweep")?;
    let mut find = Command::new("find");
    find.args([&folder, "-type", "f", "-printf", "%s %T@ %C@ %p\\n"]);
    let mut walk = Command::new(podsweep);
    walk.args(["scan", &format!("dir:{folder}"), "-o", "json"]);
    for (name, command) in [("find", &mut find), ("podsweep scan", &mut walk)] {
        let best = best_of(command)?;
        let files = f64::from(DIRECTORIES * FILES_EACH);
        eprintln!(
            "{name:>14}  {:>8.0} ms  {:>9.0} files/s   {command:?}",
            best.as_secs_f64() * 1e3,
            files / best.as_secs_f64()
        );
    }
    Ok(())
}

fn best_of(command: &mut Command) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        let status =
            command.stdout(Stdio::null()).status().with_context(|| format!("cannot start {command:?}"))?;
        if !status.success() {
            bail!("{command:?} failed ({status})");
        }
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// A tree of empty files, removed when the measurement is over.
struct Tree {
    path: PathBuf,
}

impl Tree {
    fn make() -> Result<Self> {
        step(&format!("a tree of {} files", DIRECTORIES * FILES_EACH));
        let path = Path::new("/var/tmp").join(format!("podsweep-bench-{}", std::process::id()));
        let tree = Self { path };
        for directory in 0..DIRECTORIES {
            let directory = tree.path.join(directory.to_string());
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
            for file in 0..FILES_EACH {
                File::create(directory.join(file.to_string()))?;
            }
        }
        Ok(tree)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}
