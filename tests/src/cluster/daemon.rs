//! One program of a cluster. In: a command, an enclosure. Out: a process that can be paused, continued and killed, by
//! its id; its log in a file. Dropped, it is killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::enclosure::Enclosure;

/// What of a log is shown where its program has failed.
const SHOWN_LINES: usize = 15;

/// A running program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it says is appended to `NAME.log` in `folder`.
    pub fn start(enclosure: &Enclosure, name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = enclosure.spawn(command)?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    /// An error with the end of its log, where it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => {
                bail!("{} has ended ({status}); the end of its log:\n{}", self.name, self.log_end())
            }
            None => Ok(()),
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// SIGSTOP: it answers nobody, and its connections stay open.
    pub fn pause(&mut self) -> Result<()> {
        self.send(Signal::SIGSTOP)
    }

    /// SIGKILL, and waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.process.wait().map(drop).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        self.send(Signal::SIGCONT)
    }

    /// Its process id.
    pub fn pid(&self) -> Result<i32> {
        i32::try_from(self.process.id()).context("a process id that is none")
    }

    fn send(&mut self, signal: Signal) -> Result<()> {
        self.check_alive()?; // else its id may be somebody else's
        kill(Pid::from_raw(self.pid()?), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        if let Err(error) = self.process.wait() {
            eprintln!("{}: {error}", self.name);
        }
    }
}
