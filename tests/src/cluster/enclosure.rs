//! Namespaces for a cluster's processes. In: nothing, or the wish for a network and mounts of its own. Out: programs
//! and work run in there. When it is dropped, or the test is killed, its first process ends and the kernel kills all
//! others, daemons that have left their parents included; what they have mounted goes with them.
//!
//! Must never change the machine's own mounts, network or processes.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;

use crate::wait;

/// Folders that a node's programs write to wherever they are told to live: containerd's and CNI's state, the kubelet's
/// sockets of device plugins, links to logs. Without systemd's sockets in /run, the kubelet mounts by itself.
const EMPTY_FOLDERS: [&str; 3] = ["/run", "/var/lib", "/var/log"];
/// Ends when nobody holds the other end of its standard input: this process. Until then it waits for orphans, since it
/// is no single command, which the shell would become.
const WAIT: &str = "echo ready; cat > /dev/null; :";
/// The first process of a node sees its own processes only, and an interface `lo` that works.
const WAIT_ON_A_NODE: &str =
    "mount -t proc proc /proc && ip link set lo up && echo ready && cat > /dev/null; :";

/// The kernel takes milliseconds for it, unless a process hangs in the kernel.
const EMPTIED_WITHIN: Duration = Duration::from_secs(20);

/// A set of namespaces with a first process.
#[derive(Debug)]
pub struct Enclosure {
    first: Child,
    namespaces: Vec<(CloneFlags, File)>,
}

impl Enclosure {
    /// Processes only: network and mounts are the machine's.
    pub fn of_processes() -> Result<Self> {
        Self::make(CloneFlags::CLONE_NEWPID, WAIT, || Ok(()))
    }

    /// Processes, network and mounts: a machine of its own, but for the filesystems below.
    pub fn of_a_node() -> Result<Self> {
        let walls = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        Self::make(walls, WAIT_ON_A_NODE, own_mounts)
    }

    fn make(walls: CloneFlags, script: &str, prepare: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        if !geteuid().is_root() {
            bail!("needs root: makes namespaces");
        }
        let mut first = in_a_thread(|| {
            unshare(walls).context("cannot make namespaces")?;
            prepare()?;
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
            shell.spawn().context("cannot start a first process in its namespaces")
        })?;
        let mut said = String::new();
        let output = first.stdout.take().context("no standard output")?;
        BufReader::new(output).read_line(&mut said)?;
        let pid = first.id();
        let open = |flag| namespace(pid, flag).map(|file| (flag, file));
        let namespaces = walls.iter().map(open).collect::<Result<Vec<_>>>();
        let enclosure = Self { first, namespaces: namespaces? };
        match said.as_str() {
            "ready\n" => Ok(enclosure),
            _ => {
                bail!("the first process of a network and mounts of their own failed; what it said is above")
            }
        }
    }

    /// Starts a program in it, which the caller must wait for. Its process id is as the caller sees it.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(|| command.spawn().with_context(|| format!("cannot start {command:?}")))
    }

    /// Does work in it, in a thread that ends with the work: to start programs, mount, connect.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_a_thread(|| {
            // Root and working directory are shared with the other threads until here, and setns(2) changes them.
            unshare(CloneFlags::CLONE_FS).context("cannot unshare the root")?;
            for (flag, file) in &self.namespaces {
                setns(file, *flag).with_context(|| format!("cannot enter a namespace ({flag:?})"))?;
            }
            work()
        })
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        let _ = self.first.kill(); // it may have ended by itself
        // The kernel lets it be waited for when all others are gone, and were waited for by those who started them.
        let ended = || Ok(self.first.try_wait()?.is_some());
        if let Err(error) = wait::until_true("every process of an enclosure ends", EMPTIED_WITHIN, ended) {
            eprintln!("{error:#}");
        }
    }
}

/// Threads have namespaces of their own, and the caller's stay as they are.
fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let joined = thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|_| Err(anyhow!("work in an enclosure ended in a panic")))
}

fn namespace(pid: u32, flag: CloneFlags) -> Result<File> {
    let name = match flag {
        CloneFlags::CLONE_NEWPID => "pid",
        CloneFlags::CLONE_NEWNET => "net",
        CloneFlags::CLONE_NEWNS => "mnt",
        other => bail!("no namespace: {other:?}"),
    };
    let path = format!("/proc/{pid}/ns/{name}");
    File::open(&path).with_context(|| format!("cannot open {path}"))
}

/// Mounts of the calling thread's own, shared with whatever it starts: the kubelet's volumes reach containers so.
fn own_mounts() -> Result<()> {
    let none: Option<&str> = None;
    for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(none, "/", none, MsFlags::MS_REC | kind, none).context("cannot make mounts my own")?;
    }
    for folder in EMPTY_FOLDERS {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("cannot mount a tmpfs on {folder}"))?;
    }
    Ok(())
}
