//! A process in a cgroup and a mount namespace of its own that does what a test asks, and nothing else: so every
//! count of that cgroup has a known cause.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::kernel_cgroup::TestCgroup;
use crate::kernel_filesystems::{Filesystem, Size, leave_host};
use crate::kernel_operations::{self, Operation};
use crate::kernel_storm::{self, Storm};
use crate::kernel_tasks::forked;

/// What a worker is asked for; one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make and mount a filesystem; otherwise that is done when it is first needed.
    Mount(Filesystem),
    /// Make what the operation of this name needs.
    Prepare(String, Filesystem),
    /// Do it.
    Run(String, Filesystem),
    /// Do it in a child that has moved to the cgroup whose directory this is.
    RunIn(PathBuf, String, Filesystem),
    /// Make files in a folder, named by numbers, and leave them.
    Fill(Filesystem, PathBuf, u32),
    /// Make and remove files from many threads and short-lived children at once.
    Storm(Filesystem, Storm),
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// This kernel or filesystem does not have the operation; why.
    Refused(String),
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
    /// Starts `program` (the worker's own binary), in a new cgroup.
    pub fn start(program: &str, name: &str) -> io::Result<Self> {
        let cgroup = TestCgroup::new(name)?;
        let base = tempfile::Builder::new().prefix("podsweep-kernel-").tempdir()?;
        let mut child = Command::new(program)
            .arg("serve")
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
    pub fn ask(&mut self, request: &Request) -> io::Result<Answer> {
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

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Result<Answer, String> = serde_json::from_str(&line)
            .map_err(|error| io::Error::other(format!("the worker ended, see its stderr: {error}")))?;
        answer.map_err(io::Error::other)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The worker's own end: moves into the cgroup, then answers until its stdin closes.
pub fn serve(base: &Path, cgroup: &Path) -> io::Result<()> {
    join(cgroup)?;
    respond(leave_host().map(|()| Answer::Done))?;
    for line in io::stdin().lock().lines() {
        respond(handle(base, serde_json::from_str(&line?)?))?;
    }
    Ok(())
}

fn respond(result: io::Result<Answer>) -> io::Result<()> {
    let answer = result.map_err(|error| error.to_string());
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn handle(base: &Path, request: Request) -> io::Result<Answer> {
    match request {
        Request::Mount(on) => drop(mounted(base, on, Size::Roomy)?),
        Request::Prepare(name, on) => {
            let operation = named(&name)?;
            operation.prepare(&mounted(base, on, operation.size())?)?;
        }
        Request::Run(name, on) => {
            let operation = named(&name)?;
            return outcome(operation, operation.run(&on.root(base, operation.size())));
        }
        Request::RunIn(cgroup, name, on) => {
            let operation = named(&name)?;
            let root = on.root(base, operation.size());
            let done = forked(|| join(&cgroup).and_then(|()| operation.run(&root)));
            return outcome(operation, done);
        }
        Request::Fill(on, folder, files) => fill(&mounted(base, on, Size::Roomy)?.join(folder), files)?,
        Request::Storm(on, storm) => kernel_storm::rage(&mounted(base, on, Size::Roomy)?, storm)?,
    }
    Ok(Answer::Done)
}

fn named(name: &str) -> io::Result<&'static Operation> {
    kernel_operations::named(name).ok_or_else(|| io::Error::other(format!("no operation {name}")))
}

fn outcome(operation: &Operation, done: io::Result<()>) -> io::Result<Answer> {
    match done {
        Err(error) if operation.is_refusal(&error) => Ok(Answer::Refused(error.to_string())),
        done => done.map(|()| Answer::Done),
    }
}

/// The root of a filesystem, which is mounted when it is first asked for.
fn mounted(base: &Path, filesystem: Filesystem, size: Size) -> io::Result<PathBuf> {
    let root = filesystem.root(base, size);
    if !root.exists() {
        filesystem.mount(base, size)?;
    }
    Ok(root)
}

fn join(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

fn fill(folder: &Path, files: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    (0..files).try_for_each(|number| fs::File::create_new(folder.join(number.to_string())).map(drop))
}
