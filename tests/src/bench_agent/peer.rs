//! The peers: what counting the same creations costs whoever is told of each file.
//!
//! An inotify watch on the one directory of each container, creations alone: as cheap as inotify can be had. (It is
//! told of no removal, and a real one needs a watch on every directory.) One peer reads what there is as soon as there
//! is something, as inotifywait does; the other as often as the agent reads its counters, into a buffer that takes it
//! all. What being told costs those who create is not in the peers' CPU time: `cargo xtask bench hooks` measures that.
//!
//! In: directories, one a line, on standard input, then a line for each question. Out: how many events it was told of
//! so far, a line for each question. Must never: outlive the benchmark.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::usage::Cpu;

/// As the agent reads its counters.
const INTERVAL: Duration = Duration::from_millis(250);
/// 8,192 events with short names: what 10,000 a second leave in [`INTERVAL`], thrice.
const BUFFER: usize = 256 * 1024;
/// The line after the directories.
const BEGIN: &str = "";

/// Events so far.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// When a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    AsTheyCome,
    FourTimesASecond,
}

/// A peer's process, from outside.
#[derive(Debug)]
pub(super) struct Peer {
    process: Child,
    answers: BufReader<ChildStdout>,
    reading: Reading,
}

/// What a peer has done so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    /// Events that it was told of.
    pub(super) events: u64,
    pub(super) cpu: Cpu,
}

impl Reading {
    /// What the figures and the command line call it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AsTheyCome => "inotify, read as events come",
            Self::FourTimesASecond => "inotify, read 4 times a second",
        }
    }
}

impl Peer {
    pub(super) fn start(reading: Reading, directories: &[PathBuf]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["peer", reading.as_str()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a peer")?;
        let answers = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut peer = Self { process, answers, reading };
        let lines = directories.iter().map(|directory| format!("{}\n", directory.display()));
        peer.tell(&lines.chain([format!("{BEGIN}\n")]).collect::<String>())?;
        Ok(peer)
    }

    /// How it stands.
    pub(super) fn stand(&mut self) -> Result<Stand> {
        Ok(Stand { events: self.events()?, cpu: Cpu::of(i32::try_from(self.process.id())?)? })
    }

    fn events(&mut self) -> Result<u64> {
        self.tell("how many?\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        answer.trim().parse().with_context(|| format!("{}: it said {answer:?}", self.reading.as_str()))
    }

    fn tell(&mut self, text: &str) -> Result<()> {
        let input = self.process.stdin.as_mut().context("no standard input")?;
        input.write_all(text.as_bytes()).with_context(|| format!("{}: it has ended", self.reading.as_str()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has nothing to tidy up.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is a peer until it is killed or nobody asks any more.
pub fn serve(reading: &str) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let readings = [Reading::AsTheyCome, Reading::FourTimesASecond];
    let Some(reading) = readings.into_iter().find(|known| known.as_str() == reading) else {
        bail!("no such peer: {reading}");
    };
    let watcher = inotify::init(CreateFlags::CLOEXEC).context("no inotify")?;
    for directory in io::stdin().lock().lines() {
        let directory = directory?;
        if directory == BEGIN {
            break;
        }
        inotify::add_watch(&watcher, &directory, WatchFlags::CREATE)
            .with_context(|| format!("cannot watch {directory}"))?;
    }
    thread::spawn(move || take_in(&watcher, reading));
    answer()
}

#[allow(clippy::print_stdout, reason = "the count is what was asked for")]
fn answer() -> Result<()> {
    for question in io::stdin().lock().lines() {
        question?;
        println!("{}", EVENTS.load(Ordering::Relaxed));
    }
    Ok(())
}

fn take_in(watcher: &rustix::fd::OwnedFd, reading: Reading) {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(watcher, &mut buffer);
    // An error shows as events that are missing.
    while reader.next().is_ok() {
        EVENTS.fetch_add(1, Ordering::Relaxed);
        if reader.is_buffer_empty() && reading == Reading::FourTimesASecond {
            thread::sleep(INTERVAL);
        }
    }
}
