//! Ways to learn of new files: none, podsweep's, and others'. Those that deliver an event have a reader that takes it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{MapData, RingBuf};
use aya::programs::TracePoint;
use aya::{Ebpf, EbpfLoader};
use nix::fcntl::AT_FDCWD;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{self, EventFFlags, Fanotify, MarkFlags};
use nix::sys::inotify::{self, AddWatchFlags, Inotify};
use podsweep::observe::{ObserveSettings, Observer, Tier};

use super::work::thread_time;

/// The object that build.rs hands on.
static PEER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/peer.o"));
/// How long a reader sleeps at most before it looks whether it should end.
const POLL: u16 = 20;
/// Bytes that a reader takes at once: what tools of this kind use.
const READ_BYTES: usize = 64 * 1024;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watcher {
    Nothing,
    /// The control: how far two measurements of the same thing differ.
    NothingAgain,
    Podsweep {
        tier: Tier,
        with_directories: bool,
    },
    /// A tracepoint at openat(2) that sends path, process and cgroup of each open for creation.
    EventPerFile,
    /// `FAN_CREATE` on the filesystem, with names.
    Fanotify,
    /// `IN_CREATE` on the one directory.
    Inotify,
}

impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::NothingAgain => f.write_str("nothing, again"),
            Self::Podsweep { tier, with_directories: false } => write!(f, "podsweep {tier}"),
            Self::Podsweep { tier, with_directories: true } => write!(f, "podsweep {tier} + directories"),
            Self::EventPerFile => f.write_str("ring-buffer event per file"),
            Self::Fanotify => f.write_str("fanotify FAN_CREATE"),
            Self::Inotify => f.write_str("inotify IN_CREATE"),
        }
    }
}

/// What a reader came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) events: u64,
    /// CPU time of the reader's thread.
    pub(super) spent: Duration,
}

/// A way in use.
pub(super) enum Watching {
    Nothing,
    // Held: dropped, it detaches.
    Podsweep { _observer: Box<Observer> },
    Reader { reader: Reader, program: Option<Box<Ebpf>> },
}

impl Watching {
    /// Begins to watch `folder`, or everything.
    pub(super) fn begin(watcher: Watcher, folder: &Path) -> Result<Self> {
        let begun = match watcher {
            Watcher::Nothing | Watcher::NothingAgain => Ok(Self::Nothing),
            Watcher::Podsweep { tier, with_directories } => observer(tier, with_directories)
                .map(|observer| Self::Podsweep { _observer: Box::new(observer) }),
            Watcher::EventPerFile => event_per_file(),
            Watcher::Fanotify => fanotify(folder),
            Watcher::Inotify => inotify(folder),
        };
        begun.with_context(|| format!("cannot watch by {watcher}"))
    }

    /// Ends; what its reader came to, if it has one.
    pub(super) fn end(self) -> Result<Option<Read>> {
        match self {
            Self::Nothing | Self::Podsweep { .. } => Ok(None),
            Self::Reader { reader, program } => {
                let read = reader.end();
                drop(program);
                read.map(Some)
            }
        }
    }
}

pub(super) fn observer(tier: Tier, with_directories: bool) -> Result<Observer> {
    Ok(Observer::start_tier(tier, &ObserveSettings { with_directories, ..ObserveSettings::default() })?)
}

fn event_per_file() -> Result<Watching> {
    if PEER.is_empty() {
        bail!("its object was not built: build without PODSWEEP_EBPF_OBJECT");
    }
    let mut ebpf = EbpfLoader::new().load(PEER)?;
    let program: &mut TracePoint =
        ebpf.program_mut("openat_begins").context("no such program")?.try_into()?;
    program.load()?;
    program.attach("syscalls", "sys_enter_openat")?;
    let events = ebpf.take_map("EVENTS").context("no such map")?;
    let events = RingBuf::try_from(events)?;
    Ok(Watching::Reader { reader: Reader::of_ring(events), program: Some(Box::new(ebpf)) })
}

fn fanotify(folder: &Path) -> Result<Watching> {
    // Flags of include/uapi/linux/fanotify.h that nix does not name: FAN_REPORT_FID, _DIR_FID and _NAME, without
    // which the kernel tells of no creation.
    const REPORT_NAMES: u32 = 0x200 | 0x400 | 0x800;
    let flags = fanotify::InitFlags::from_bits_retain(REPORT_NAMES)
        | fanotify::InitFlags::FAN_NONBLOCK
        | fanotify::InitFlags::FAN_UNLIMITED_QUEUE;
    let group = Fanotify::init(flags, EventFFlags::O_RDONLY)?;
    let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    group.mark(mark, fanotify::MaskFlags::FAN_CREATE, AT_FDCWD, Some(folder))?;
    // event_len, the first word.
    Ok(Watching::Reader { reader: Reader::of(group, |record| word(record, 0)), program: None })
}

fn inotify(folder: &Path) -> Result<Watching> {
    const HEADER: usize = 16;
    let instance = Inotify::init(inotify::InitFlags::IN_NONBLOCK)?;
    instance.add_watch(folder, AddWatchFlags::IN_CREATE)?;
    // The name's length, the last word of the header.
    let length = |record: &[u8]| word(record, 12).map(|name| HEADER + name);
    Ok(Watching::Reader { reader: Reader::of(instance, length), program: None })
}

fn word(record: &[u8], at: usize) -> Option<usize> {
    let bytes = record.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(bytes)).ok()
}

/// A thread that takes events and throws them away: the least that a tool of its kind does.
pub(super) struct Reader {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Read>>,
}

impl Reader {
    /// Reads records, each as long as `length` says.
    fn of(
        source: impl AsFd + Send + 'static,
        length: impl Fn(&[u8]) -> Option<usize> + Send + 'static,
    ) -> Self {
        let mut buffer = vec![0; READ_BYTES];
        Self::start(move |over| {
            wait(source.as_fd())?;
            let taken = match nix::unistd::read(&source, &mut buffer) {
                Ok(taken) => taken,
                Err(nix::errno::Errno::EAGAIN) => 0,
                Err(error) => return Err(error.into()),
            };
            let events = records(&buffer[..taken], &length);
            Ok((events > 0 || !over).then_some(events))
        })
    }

    /// Waits to be woken, and takes whatever is there.
    fn of_ring(mut ring: RingBuf<MapData>) -> Self {
        Self::start(move |over| {
            wait(ring.as_fd())?;
            let events = std::iter::from_fn(|| ring.next().map(drop)).count() as u64;
            Ok((events > 0 || !over).then_some(events))
        })
    }

    /// `turn` takes events; `None`: it is over and nothing is left.
    fn start(mut turn: impl FnMut(bool) -> Result<Option<u64>> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let (before, mut events) = (thread_time()?, 0);
            while let Some(taken) = turn(seen.load(Ordering::Acquire))? {
                events += taken;
            }
            Ok(Read { events, spent: thread_time()?.saturating_sub(before) })
        });
        Self { over, thread }
    }

    fn end(self) -> Result<Read> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}

fn wait(source: BorrowedFd<'_>) -> Result<()> {
    poll(&mut [PollFd::new(source, PollFlags::POLLIN)], PollTimeout::from(POLL))?;
    Ok(())
}

fn records(mut bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> u64 {
    let mut count = 0;
    while let Some(rest) = length(bytes).filter(|length| *length > 0).and_then(|length| bytes.get(length..)) {
        (bytes, count) = (rest, count + 1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_lengths() {
        let mut bytes = Vec::new();
        for length in [8u32, 12, 4] {
            bytes.extend(length.to_ne_bytes());
            bytes.resize(bytes.len() + length as usize - 4, 0);
        }
        let length = |record: &[u8]| word(record, 0);
        assert_eq!(records(&bytes, length), 3);
        assert_eq!(records(&bytes[..bytes.len() - 1], length), 2, "the last is cut off");
        assert_eq!(records(&[0; 16], length), 0, "a length of nothing leads nowhere");
    }
}
