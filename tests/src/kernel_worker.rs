//! A process in a cgroup and a mount namespace of its own that does what a test asks, and nothing else: so every
//! count of that cgroup has a known cause.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use podsweep::inventory::CgroupId;
use podsweep::kernel::Cgroups;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::kernel_filesystems::{Filesystem, mount_all};
use crate::kernel_operations::OPERATIONS;

/// What a worker is asked for; one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make what an operation (by its place in [`OPERATIONS`]) needs.
    Prepare(usize, Filesystem),
    /// Do it.
    Run(usize, Filesystem),
    /// Make files in a folder, named by numbers, and leave them.
    Fill(Filesystem, PathBuf, u32),
    /// Make and remove files from many threads and short-lived children at once.
    Storm(Filesystem, Storm),
}

/// A storm of creations; each file is removed at once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Storm {
    /// Threads of the worker.
    pub threads: u32,
    /// Children that each thread starts, one after another.
    pub children: u32,
    /// Files that each thread makes itself, and each of its children too.
    pub files: u32,
}

impl Storm {
    /// Files made in all.
    pub const fn total(self) -> u64 {
        self.threads as u64 * (1 + self.children as u64) * self.files as u64
    }
}

/// A cgroup of our own; removed when dropped.
#[derive(Debug)]
pub struct TestCgroup {
    /// Its folder.
    pub path: PathBuf,
    /// Its id.
    pub id: CgroupId,
}

impl TestCgroup {
    /// Makes one below the root of cgroup2, with the test's process id in its name.
    pub fn new(name: &str) -> io::Result<Self> {
        let unified = Cgroups::find().map_err(io::Error::other)?.unified;
        let path = unified.join(format!("podsweep-kernel-{name}-{}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| io::Error::other(format!("{}: {error}; run as root", path.display())))?;
        let id = CgroupId(fs::metadata(&path)?.ino());
        Ok(Self { path, id })
    }

    /// Removes it now.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The test's end of a worker.
#[derive(Debug)]
pub struct Worker {
    /// Where it works.
    pub cgroup: TestCgroup,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _base: TempDir,
}

impl Worker {
    /// Starts `program` (the worker's own binary), in a new cgroup, with every filesystem mounted.
    pub fn start(program: &str, name: &str) -> io::Result<Self> {
        let cgroup = TestCgroup::new(name)?;
        let base = tempfile::Builder::new().prefix("podsweep-kernel-").tempdir()?;
        let mut child = Command::new(program)
            .arg(base.path())
            .arg(&cgroup.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        let requests = Some(child.stdin.take().ok_or_else(missing)?);
        let answers = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut worker = Self { cgroup, child, requests, answers, _base: base };
        worker.answer()?;
        Ok(worker)
    }

    /// Asks, and waits until it is done.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.requests.as_mut().ok_or_else(|| io::Error::other("stopped"))?.write_all(&line)?;
        self.answer()
    }

    /// Ends the process; its cgroup is empty then.
    pub fn stop(&mut self) -> io::Result<()> {
        self.requests = None;
        self.child.wait().map(drop)
    }

    fn answer(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Result<(), String> = serde_json::from_str(&line)
            .map_err(|error| io::Error::other(format!("the worker ended, see its stderr: {error}")))?;
        answer.map_err(io::Error::other)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The worker's own end: moves into the cgroup, mounts, then answers until its stdin closes.
pub fn serve(base: &Path, cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    respond(mount_all(base))?;
    for line in io::stdin().lock().lines() {
        respond(handle(base, &serde_json::from_str(&line?)?))?;
    }
    Ok(())
}

/// A short-lived child of a storm: makes and removes files.
pub fn storm_child(folder: &Path, name: &str, files: u32) -> io::Result<()> {
    for number in 0..files {
        // A few hundred names in turn: the folder stays small.
        let path = folder.join(format!("{name}-{}", number % 256));
        fs::File::create_new(&path)?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn respond(result: io::Result<()>) -> io::Result<()> {
    let answer = result.map_err(|error| error.to_string());
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn handle(base: &Path, request: &Request) -> io::Result<()> {
    let operation = |index: usize| OPERATIONS.get(index).ok_or_else(|| io::Error::other("no such operation"));
    match request {
        Request::Prepare(index, filesystem) => operation(*index)?.prepare(&filesystem.root(base)),
        Request::Run(index, filesystem) => operation(*index)?.run(&filesystem.root(base)),
        Request::Fill(filesystem, folder, files) => fill(&filesystem.root(base).join(folder), *files),
        Request::Storm(filesystem, storm) => run_storm(&filesystem.root(base), *storm),
    }
}

fn fill(folder: &Path, files: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    (0..files).try_for_each(|number| fs::File::create_new(folder.join(number.to_string())).map(drop))
}

fn run_storm(root: &Path, storm: Storm) -> io::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..storm.threads).map(|thread| scope.spawn(move || storm_thread(root, thread, storm))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| io::Error::other("a thread of the storm panicked"))?
        })
    })
}

fn storm_thread(root: &Path, thread: u32, storm: Storm) -> io::Result<()> {
    for child in 0..storm.children {
        let status = Command::new(std::env::current_exe()?)
            .arg(root)
            .args([format!("{thread}-{child}"), storm.files.to_string()])
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("a child of the storm: {status}")));
        }
    }
    storm_child(root, &thread.to_string(), storm.files)
}
