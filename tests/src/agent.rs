//! A real agent: the program itself, with a folder for its state, its policies and its socket.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podsweep::policy::chain::Step;
use podsweep::report::{Phase, SweepRecord};
use serde_json::{Value, json};

use crate::api::Api;
use crate::container::Container;
use crate::isolation::private_mounts;
use crate::pod::Pod;
use crate::workspace::Workspace;
use crate::{cgroup, image, wait};

/// Loading and testing the eBPF programs takes seconds in an unoptimised build on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// A sweep in progress ends with its batch.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// An environment variable that an agent's children inherit: how a test finds what an agent has left behind.
const MARK: &str = "PODSWEEP_TEST_AGENT";

/// An agent. When it is dropped it is asked to end, and nothing of it stays.
#[derive(Debug)]
pub struct Agent {
    process: Option<Child>,
    pod: Option<Pod>,
    workspace: Workspace,
}

impl Agent {
    /// Starts it with these policies (name, text), waits until it is ready. `prefix` begins its folder's name.
    pub fn start(prefix: &str, policies: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(prefix, policies, &json!({}))
    }

    /// The same with further settings, written over the tests' own.
    pub fn start_with(prefix: &str, policies: &[(&str, &str)], settings: &Value) -> Result<Self> {
        let mut agent = Self::make(prefix, policies, settings)?;
        agent.restart()?;
        Ok(agent)
    }

    /// With the rights and the view of the agent's pod, see [`Pod`].
    pub fn start_in_a_pod(prefix: &str, policies: &[(&str, &str)]) -> Result<Self> {
        let mut agent = Self::make(prefix, policies, &json!({}))?;
        let (name, folder) = (agent.workspace.name(), agent.workspace.path());
        let environment = [format!("{MARK}={}", agent.mark())];
        agent.pod = Some(Pod::make(name, folder, &agent.config(), &environment)?);
        agent.restart()?;
        Ok(agent)
    }

    fn make(prefix: &str, policies: &[(&str, &str)], settings: &Value) -> Result<Self> {
        private_mounts()?;
        let agent = Self { process: None, pod: None, workspace: Workspace::new(prefix)? };
        agent.workspace.folder("policies")?;
        agent.workspace.folder("state")?;
        for (name, text) in policies {
            agent.write_policy(name, text)?;
        }
        fs::write(agent.config(), config(agent.workspace.path(), &agent.slice(), settings).to_string())?;
        Ok(agent)
    }

    /// Starts it again after [`Agent::kill`].
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        let api = self.api();
        let ready = wait::until_true("the agent is ready", READY_WITHIN, || {
            self.check_alive()?;
            Ok(api.is_ready())
        });
        ready.with_context(|| format!("the end of its log:\n{}", self.log_end()))
    }

    /// Its control endpoint.
    pub fn api(&self) -> Api {
        Api::new(&self.path("podsweep.sock"))
    }

    /// Its process.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().and_then(|process| i32::try_from(process.id()).ok())
    }

    /// The pod that it runs in, if it does.
    pub fn pod(&self) -> Option<&Pod> {
        self.pod.as_ref()
    }

    /// A path in its folder: `podsweep.sock`, `policies`, `state`, `agent.log`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    /// Writes a policy file as an editor would: whole, by renaming.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(&new, self.path("policies").join(format!("{name}.yaml")))?;
        Ok(())
    }

    /// The command line, as somebody on its node would use it.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        let mut podsweep = Command::new(image::program("podsweep")?);
        podsweep.env("PODSWEEP_CONFIG", self.config()).env("PODSWEEP_SOCKET", self.path("podsweep.sock"));
        podsweep.args(words).output().with_context(|| format!("cannot run podsweep {words:?}"))
    }

    /// Who is asked about a file, and who decides: `podsweep explain`.
    pub fn explain(&self, container: &Container, path: &str, more: &[&str]) -> Result<Vec<Step>> {
        let target = container.cgroup().path();
        let words = [&["explain", path, "--container", &target, "-o", "json"], more].concat();
        let output = self.command(&words)?;
        if !output.status.success() {
            bail!("podsweep {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// SIGKILL: no goodbye.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// The container of this cgroup, as soon as the agent knows it.
    pub fn knows(&self, cgroup: u64, limit: Duration) -> Result<crate::api::ContainerSeen> {
        let api = self.api();
        wait::until("the agent knows the container", limit, || {
            Ok(api.container(cgroup)?.filter(|seen| seen.upper.is_some()))
        })
    }

    /// The record of a sweep when it has ended.
    pub fn ended(&self, id: &str, limit: Duration) -> Result<SweepRecord> {
        let api = self.api();
        let ended = wait::until("the sweep has ended", limit, || {
            let record = api.sweep(id)?;
            Ok((record.phase == Phase::Ended).then_some(record))
        });
        ended.with_context(|| format!("the end of the agent's log:\n{}", self.log_end()))
    }

    /// Processes that an agent started and that outlived it, and cgroups that its scans left.
    pub fn orphans(&self) -> Vec<String> {
        let in_cgroups = cgroup::processes(&self.slice());
        let processes = self.children().into_iter().chain(in_cgroups).map(|pid| format!("process {pid}"));
        let cgroups = cgroup::nested(&self.slice());
        processes
            .chain(cgroups.into_iter().map(|directory| format!("cgroup {}", directory.display())))
            .collect()
    }

    /// Processes that it has started and that live.
    pub fn children(&self) -> Vec<i32> {
        let own = self.pid();
        marked(&self.mark()).into_iter().filter(|pid| Some(*pid) != own).collect()
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        const LINES: usize = 15;
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("agent.log"))?;
        let by_itself = || -> Result<Command> {
            let mut agent = Command::new(image::program("podsweep")?);
            agent.args(["agent".as_ref(), "--config".as_ref(), self.config().as_os_str()]);
            Ok(agent)
        };
        let mut agent = self.pod.as_ref().map_or_else(by_itself, |pod| Ok(pod.command()))?;
        agent.env(MARK, self.mark()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(agent.spawn().context("cannot start the agent")?);
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => bail!("the agent has ended ({status})"),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        let (Some(pid), Some(process)) = (self.pid(), self.process.as_mut()) else { return Ok(()) };
        if process.try_wait()?.is_some() {
            return Ok(()); // its pid may be somebody else's by now
        }
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let ended = wait::until_true("the agent ends", ENDED_WITHIN, || Ok(process.try_wait()?.is_some()));
        if ended.is_err() {
            self.kill()?;
        }
        ended
    }

    fn config(&self) -> PathBuf {
        self.path("podsweep.yaml")
    }

    /// The cgroup below which its scans run.
    pub fn slice(&self) -> String {
        format!("{}.slice", self.workspace.name())
    }

    fn mark(&self) -> String {
        self.workspace.name().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("agent {}: {error:#}", self.workspace.name());
        }
        if let Err(error) = cgroup::remove(&self.slice()) {
            eprintln!("agent {}: {error:#}", self.workspace.name());
        }
    }
}

/// An agent's configuration: all its files in `folder`, and what `over` says written over it.
fn config(folder: &Path, slice: &str, over: &Value) -> Value {
    let mut settings = json!({
        "policies": folder.join("policies"),
        "state": folder.join("state"),
        "socket": folder.join("podsweep.sock"),
        "scanCgroup": slice,
        // Tests sweep one container more often than anybody should.
        "sweepsPerMinute": 60,
        "coolDown": "1s",
    });
    if let (Some(settings), Some(over)) = (settings.as_object_mut(), over.as_object()) {
        settings.extend(over.clone());
    }
    settings
}

fn marked(mark: &str) -> Vec<i32> {
    let variable = format!("{MARK}={mark}");
    let carries = |pid: &i32| {
        let environment =
            fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).filter(carries).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use podsweep::config::Config;

    #[test]
    fn podsweep_accepts_the_configuration_and_what_is_written_over_it() {
        let over = json!({"coolDown": "10m", "journal": {"maxBytes": "2Mi", "files": 3}});
        let text = config("/var/tmp/x".as_ref(), "podsweep-test-1-0.slice", &over).to_string();
        let config = Config::parse(&text, "podsweep.yaml".as_ref()).unwrap();
        assert_eq!(config.cool_down.to_string(), "10m");
        assert_eq!(config.scan_cgroup, "podsweep-test-1-0.slice");
    }
}
