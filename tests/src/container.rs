//! A real container: runc, an overlayfs root on the disk, a cgroup of its own in every hierarchy.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep::inventory::Process;
use podsweep::kernel;

use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::disk::{Disk, Size};
use crate::isolation::private_mounts;
use crate::wait;
use crate::workload::{Beat, Plan, Said};
use crate::workspace::Workspace;

/// runc takes some hundred milliseconds on an idle machine.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
const GROWN_OLD: Duration = Duration::from_millis(10_500);
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// A container that runs the workload. When it is dropped, nothing of it stays.
#[derive(Debug)]
pub struct Container {
    running: Option<Running>,
    // Dropped in this order: the root is unmounted before its disk, and that before its folder goes.
    bundle: Bundle,
    cgroup: Cgroup,
    _disk: Option<Disk>,
    workspace: Workspace,
}

#[derive(Debug)]
struct Running {
    process: Process,
    orders: ChildStdin,
    heard: Arc<Heard>,
}

impl Container {
    /// Makes it and waits until its service beats. `prefix` begins the name of its cgroup.
    pub fn start(prefix: &str) -> Result<Self> {
        Self::start_on(prefix, None, None, str::to_owned)
    }

    /// The same where a kubelet would have it: in the cgroup of its pod, under the runtime's id.
    pub fn start_in_pod(prefix: &str, pod: &Cgroup, id: &str) -> Result<Self> {
        Self::start_on(prefix, None, None, |_| format!("{}/{id}", pod.path()))
    }

    /// The same with its cgroup in `parent`: to podsweep, another workload than those elsewhere.
    pub fn start_below(prefix: &str, parent: &Cgroup) -> Result<Self> {
        Self::start_on(prefix, None, None, |name| format!("{}/{name}", parent.path()))
    }

    /// The same with a folder of the host at `/vol`, as a hostPath volume.
    pub fn start_with_volume(prefix: &str, volume: &Path) -> Result<Self> {
        Self::start_on(prefix, None, Some(volume), str::to_owned)
    }

    /// The same with its layers on a small disk of its own.
    pub fn start_on_small_disk(prefix: &str, size: Size) -> Result<Self> {
        Self::start_on(prefix, Some(size), None, str::to_owned)
    }

    /// `cgroup`: its path by the container's name.
    fn start_on(
        prefix: &str,
        size: Option<Size>,
        volume: Option<&Path>,
        cgroup: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        private_mounts()?;
        let workspace = Workspace::new(prefix)?;
        let disk = size.map(|size| Disk::mount(prefix, workspace.path(), size)).transpose()?;
        let cgroup = Cgroup::make(cgroup(workspace.name()).trim_start_matches('/'))?;
        let bundle = Bundle::make(&workspace, &cgroup.path(), volume)?;
        let mut container = Self { running: None, bundle, cgroup, _disk: disk, workspace };
        container.run()?;
        Ok(container)
    }

    /// Its name, and its id with runc.
    pub fn name(&self) -> &str {
        self.workspace.name()
    }

    /// Its first process.
    pub fn process(&self) -> Result<Process> {
        Ok(self.running()?.process)
    }

    /// Whether its first process is the one that was started.
    pub fn is_running(&self) -> bool {
        self.process().is_ok_and(lives)
    }

    /// Its cgroup in cgroup2.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The kernel's id of this cgroup.
    pub fn cgroup_id(&self) -> Result<u64> {
        self.cgroup.id()
    }

    /// Its root as it sees it.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(Path::new("/proc").join(self.process()?.pid.to_string()).join("root"))
    }

    /// A path of the container, as the host reaches it.
    pub fn inside(&self, path: &str) -> Result<PathBuf> {
        Ok(self.root()?.join(path.trim_start_matches('/')))
    }

    /// Its writable layer.
    pub fn upper(&self) -> PathBuf {
        self.bundle.upper()
    }

    /// Starts a storm in it.
    pub fn order(&mut self, plan: &Plan) -> Result<()> {
        let line = serde_json::to_string(plan)?;
        let running = self.running.as_mut().context("the container does not run")?;
        writeln!(running.orders, "{line}").context("the workload does not listen")
    }

    /// Starts a storm and waits until it is over; what it said last.
    pub fn storm(&mut self, plan: &Plan, limit: Duration) -> Result<Said> {
        self.order(plan)?;
        self.hear("the storm is over", limit, |said| matches!(said, Said::StormEnded { .. }))
    }

    /// Waits until every file that exists now, and is not touched again, is older than the 10 s that podsweep never
    /// goes below. A real wait: nobody can set a file's ctime.
    pub fn grow_old(&self) {
        thread::sleep(GROWN_OLD);
    }

    /// Waits for something that the workload says (heartbeats excepted).
    pub fn hear(&self, what: &str, limit: Duration, wanted: impl Fn(&Said) -> bool) -> Result<Said> {
        self.running()?.heard.wait(what, limit, wanted)
    }

    /// All that the workload has said since its start (heartbeats excepted).
    pub fn said(&self) -> Result<Vec<Said>> {
        Ok(self.running()?.heard.lines().said.clone())
    }

    /// All heartbeats since its start.
    pub fn beats(&self) -> Result<Vec<Beat>> {
        Ok(self.running()?.heard.lines().beats.clone())
    }

    /// Runs a program in it, beside its first process.
    pub fn exec(&self, program: &[&str]) -> Result<Output> {
        let mut runc = self.runc_in_cgroup();
        runc.args(["exec", self.name()]).args(program).stdin(Stdio::null());
        runc.output().context("cannot run runc exec")
    }

    /// Starts a program in it, beside its first process, with these capabilities besides the container's own; its
    /// standard input and output are the caller's.
    pub fn spawn(&self, program: &[&str], capabilities: &[&str]) -> Result<Child> {
        let mut runc = self.runc_in_cgroup();
        runc.arg("exec");
        for capability in capabilities {
            runc.args(["--cap", capability]);
        }
        runc.arg(self.name()).args(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        runc.spawn().context("cannot run runc exec")
    }

    /// Kills its first process, and with it every other; runc then forgets it.
    pub fn kill(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let pid = running.process.pid;
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        wait::until_true("the container's first process is gone", KILLED_WITHIN, || {
            Ok(!lives(running.process))
        })?;
        let delete = self.runc().args(["delete", "--force", self.name()]).output()?;
        if !delete.status.success() {
            bail!("runc delete: {}", String::from_utf8_lossy(&delete.stderr));
        }
        Ok(())
    }

    /// What a runtime does when a container has failed: the same root and cgroup path, new processes.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.cgroup.make_again()?;
        self.run()
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the container does not run")
    }

    fn run(&mut self) -> Result<()> {
        let pid_file = self.workspace.path().join("pid");
        let mut launch = self.launch(&pid_file)?;
        let orders = launch.stdin.take().context("no standard input")?;
        let heard = Heard::start(launch.stdout.take().context("no standard output")?);
        let status = launch.wait()?;
        if !status.success() {
            let log = std::fs::read_to_string(self.log())?;
            bail!("runc run failed ({status}): {log}");
        }
        let pid = std::fs::read_to_string(&pid_file)?.trim().parse().context("runc wrote no pid")?;
        let process = kernel::process(pid)?;
        self.running = Some(Running { process, orders, heard });
        self.hear("the workload runs", STARTED_WITHIN, |said| matches!(said, Said::Ready))?;
        Ok(())
    }

    /// runc, started from within the cgroup: on a hybrid host it manages the v1 hierarchies, and the container's
    /// processes stay in the cgroup2 cgroup that runc was in.
    fn runc_in_cgroup(&self) -> Command {
        let procs = self.cgroup.directory().join("cgroup.procs");
        let script = "echo 0 > \"$1\" && shift && exec \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(procs).arg("runc").arg("--root").arg(self.state());
        shell
    }

    fn launch(&self, pid_file: &Path) -> Result<Child> {
        let mut runc = self.runc_in_cgroup();
        runc.args(["run", "--detach", "--bundle"]).arg(self.bundle.path()).arg("--pid-file").arg(pid_file);
        runc.arg(self.name()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(self.log())?);
        runc.spawn().context("cannot start runc: apt-get install runc")
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.state());
        runc
    }

    /// Where runc keeps its records: never the machine's own /run/runc.
    fn state(&self) -> PathBuf {
        self.workspace.path().join("runc")
    }

    fn log(&self) -> PathBuf {
        self.workspace.path().join("runc.log")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("container {}: {error:#}", self.name());
        }
    }
}

/// Whether it is the same process, and no zombie.
pub fn lives(process: Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    let is_zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    !is_zombie && kernel::process(process.pid).is_ok_and(|now| now == process)
}

/// What a workload has said so far.
#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    said: Vec<Said>,
    beats: Vec<Beat>,
    ended: bool,
}

impl Heard {
    fn start(output: ChildStdout) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let writer = Arc::clone(&heard);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                writer.add(&line);
            }
            writer.lines().ended = true;
            writer.more.notify_all();
        });
        heard
    }

    fn add(&self, line: &str) {
        let said = serde_json::from_str(line).unwrap_or_else(|_| Said::Failed { error: line.to_owned() });
        match said {
            Said::Beat(beat) => self.lines().beats.push(beat),
            other => self.lines().said.push(other),
        }
        self.more.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, what: &str, limit: Duration, wanted: impl Fn(&Said) -> bool) -> Result<Said> {
        let failed = |said: &&Said| matches!(said, Said::Failed { .. });
        let settled =
            |lines: &Lines| lines.ended || lines.said.iter().any(|said| wanted(said) || failed(&said));
        let (lines, _) = self
            .more
            .wait_timeout_while(self.lines(), limit, |lines| !settled(lines))
            .unwrap_or_else(PoisonError::into_inner);
        match (lines.said.iter().find(failed), lines.said.iter().find(|said| wanted(said))) {
            (Some(Said::Failed { error }), _) => bail!("{what}: the workload failed: {error}"),
            (_, Some(said)) => Ok(said.clone()),
            _ if lines.ended => bail!("{what}: the workload has ended"),
            _ => bail!("{what}: not within {limit:?}"),
        }
    }
}
