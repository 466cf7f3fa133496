//! A process in the container that has files in use, in every way that there is: open, mapped, locked, leased, run.
//!
//! The host says which file how, one `HOW:PATH` a word; the process says when it has them all, and holds them until
//! its standard input ends. So it never outlives the test that started it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::libc;

use crate::container::Container;
use crate::holding_raw::{Mapping, lease, map};

/// Where the container has the program.
pub const HOLDER: &str = "/app/holder";
const HELD: &str = "held";
/// What is written to a file that is open for appending, when the host asks for it.
pub const LINE: &str = "one more line\n";

/// How a file is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Open for reading.
    Reader,
    /// Open for writing; nothing is written.
    Writer,
    /// Open for reading and writing: a fifo opened so waits for nobody.
    Both,
    /// Open for appending: [`Holder::append`] makes it write [`LINE`].
    Appender,
    /// Mapped, its descriptor closed.
    Mapped,
    /// Open past the page cache and mapped for writing, of mode 0600: as a swap file is used.
    SwapLike,
    /// Locked by flock(2).
    Flock,
    /// Locked by fcntl(2), for the open file.
    Ofd,
    /// Locked by fcntl(2), for the process.
    Posix,
    /// With a write lease of its own (`F_SETLEASE`).
    Lease,
    /// A directory in which it has an open file without a name (`O_TMPFILE`).
    Unnamed,
}

impl Hold {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Reader, "reader"),
        (Self::Writer, "writer"),
        (Self::Both, "both"),
        (Self::Appender, "appender"),
        (Self::Mapped, "mapped"),
        (Self::SwapLike, "swap-like"),
        (Self::Flock, "flock"),
        (Self::Ofd, "ofd"),
        (Self::Posix, "posix"),
        (Self::Lease, "lease"),
        (Self::Unnamed, "unnamed"),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(hold, _)| *hold == self).map_or("?", |(_, name)| name)
    }

    fn named(wanted: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == wanted).map(|(hold, _)| *hold)
    }
}

/// The process, as the host has it. Its files are let go when this is dropped.
#[derive(Debug)]
pub struct Holder {
    runc: Child,
    orders: Option<ChildStdin>,
    said: BufReader<std::process::ChildStdout>,
}

impl Holder {
    /// Starts it and waits until it has every one of these files (paths of the container).
    pub fn start(container: &Container, holds: &[(Hold, &str)]) -> Result<Self> {
        Self::start_program(container, HOLDER, holds)
    }

    /// The same by a copy of the program at another path of the container: a file that is being run.
    pub fn start_program(container: &Container, program: &str, holds: &[(Hold, &str)]) -> Result<Self> {
        let words = holds.iter().map(|(hold, path)| format!("{}:{path}", hold.name()));
        let words: Vec<_> = [program.to_owned()].into_iter().chain(words).collect();
        let mut runc = container.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
        let orders = runc.stdin.take();
        let said = BufReader::new(runc.stdout.take().context("no standard output")?);
        let mut holder = Self { runc, orders, said };
        holder.must_hear(HELD)?;
        Ok(holder)
    }

    /// Makes it write [`LINE`] to what it appends to.
    pub fn append(&mut self) -> Result<()> {
        let orders = self.orders.as_mut().context("no standard input")?;
        writeln!(orders, "append").context("the holder does not listen")?;
        self.must_hear("appended")
    }

    /// Makes it give its files without a name the name `linked.keep`, in their directory.
    pub fn link_unnamed(&mut self) -> Result<()> {
        let orders = self.orders.as_mut().context("no standard input")?;
        writeln!(orders, "link").context("the holder does not listen")?;
        self.must_hear("linked")
    }

    fn must_hear(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line).context("cannot hear the holder")?;
        if line.trim_end() != word {
            bail!("the holder said {line:?}, not {word:?}");
        }
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.orders = None;
        if let Err(error) = self.runc.wait() {
            eprintln!("a holder stays: {error}");
        }
    }
}

/// What a process has of a file.
#[derive(Debug)]
enum Held {
    Open(#[expect(dead_code, reason = "held open")] OwnedFd),
    Appending(File),
    Unnamed(File, String),
    Locked(#[expect(dead_code, reason = "held locked")] Flock<File>),
    Mapped(#[expect(dead_code, reason = "held mapped")] Mapping),
    DirectlyMapped(#[expect(dead_code, reason = "held mapped and open")] (Mapping, File)),
}

/// The program: takes hold, says so, does as it is told until its standard input ends.
pub fn hold(words: &[String]) -> io::Result<()> {
    let mut held = words.iter().map(|word| take(word)).collect::<io::Result<Vec<_>>>()?;
    say(HELD)?;
    for order in io::stdin().lines() {
        match order?.as_str() {
            "append" => {
                for one in &mut held {
                    if let Held::Appending(file) = one {
                        file.write_all(LINE.as_bytes())?;
                    }
                }
                say("appended")?;
            }
            "link" => {
                for one in &mut held {
                    link(one)?;
                }
                say("linked")?;
            }
            other => return Err(io::Error::other(format!("no such order: {other}"))),
        }
    }
    Ok(())
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{word}")?;
    out.flush()
}

fn take(word: &str) -> io::Result<Held> {
    let unknown = || io::Error::other(format!("not HOW:PATH: {word}"));
    let (how, path) = word.split_once(':').ok_or_else(unknown)?;
    let hold = Hold::named(how).ok_or_else(unknown)?;
    take_one(hold, path).map_err(|error| io::Error::other(format!("{word}: {error}")))
}

fn take_one(hold: Hold, path: &str) -> io::Result<Held> {
    let read = || File::open(path);
    Ok(match hold {
        Hold::Reader => Held::Open(read()?.into()),
        Hold::Writer => Held::Open(OpenOptions::new().write(true).open(path)?.into()),
        Hold::Both => Held::Open(OpenOptions::new().read(true).write(true).open(path)?.into()),
        Hold::Appender => Held::Appending(OpenOptions::new().append(true).open(path)?),
        Hold::Mapped => Held::Mapped(map(read()?.as_fd(), false)?),
        Hold::SwapLike => {
            let file =
                OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_DIRECT.bits()).open(path)?;
            Held::DirectlyMapped((map(file.as_fd(), true)?, file))
        }
        Hold::Flock => {
            Held::Locked(Flock::lock(read()?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?)
        }
        Hold::Ofd | Hold::Posix => Held::Open(lock(path, hold)?.into()),
        Hold::Lease => {
            let file = read()?;
            lease(file.as_fd())?;
            Held::Open(file.into())
        }
        Hold::Unnamed => {
            let flags = OFlag::O_TMPFILE.bits();
            let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
            file.write_all(LINE.as_bytes())?;
            Held::Unnamed(file, path.to_owned())
        }
    })
}

fn lock(path: &str, hold: Hold) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let whole = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let argument = if hold == Hold::Ofd { FcntlArg::F_OFD_SETLK(&whole) } else { FcntlArg::F_SETLK(&whole) };
    fcntl(&file, argument)?;
    Ok(file)
}

fn link(held: &mut Held) -> io::Result<()> {
    let Held::Unnamed(file, directory) = held else { return Ok(()) };
    let mut content = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut content)?;
    if content != LINE {
        return Err(io::Error::other(format!("the file without a name has become {content:?}")));
    }
    let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let to = Path::new(directory).join("linked.keep");
    rustix::fs::linkat(rustix::fs::CWD, magic, rustix::fs::CWD, to, rustix::fs::AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}
