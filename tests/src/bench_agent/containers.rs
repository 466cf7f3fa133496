//! The 250 containers, from outside: started, ordered, heard, ended.
//!
//! In: a [`Schedule`]. Out: what each has done. Must never: leave one behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::load::{Carried, Said, prepare};
use super::schedule::{CONTAINERS, Schedule};
use crate::api::{Api, ContainerSeen};
use crate::cgroup::Cgroup;
use crate::wait;
use crate::workspace::Workspace;

/// A container takes milliseconds to start; a busy machine starts 250 in some seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// After the end of its order.
const DONE_WITHIN: Duration = Duration::from_secs(10);
/// After the end of its standard input.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug)]
pub(super) struct Containers {
    // Dropped in this order: a cgroup goes when it is empty.
    all: Vec<Container>,
    cgroup: Cgroup,
    _workspace: Workspace,
}

#[derive(Debug)]
struct Container {
    process: Child,
    /// What it says.
    said: PathBuf,
    cgroup: PathBuf,
}

impl Containers {
    /// Starts them.
    pub(super) fn start(prefix: &str) -> Result<Self> {
        let workspace = Workspace::new(prefix)?;
        let cgroup = Cgroup::make(workspace.name())?;
        let all = (0..CONTAINERS).map(|number| Container::start(&workspace, &cgroup, number));
        let all = all.collect::<Result<Vec<_>>>()?;
        for container in &all {
            container.hear("is ready", READY_WITHIN, |said| matches!(said, Said::Ready))?;
        }
        Ok(Self { all, cgroup, _workspace: workspace })
    }

    /// A glob over their cgroups, and over nothing else.
    pub(super) fn glob(&self) -> String {
        format!("{}/*", self.cgroup.path())
    }

    /// Path of a container's cgroup, as the agent names it.
    pub(super) fn cgroup_path(&self, number: u32) -> String {
        format!("{}/{}", self.cgroup.path(), cgroup_name(number))
    }

    /// Those that the agent knows, as it shows them.
    pub(super) fn seen_by(&self, api: &Api) -> Result<Vec<ContainerSeen>> {
        let below = format!("{}/", self.cgroup.path());
        let mut seen = api.containers()?;
        seen.retain(|seen| seen.cgroup_path.starts_with(&below));
        Ok(seen)
    }

    /// A directory of each container in which it creates.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let roots = self.all.iter().map(|container| format!("/proc/{}/root/tmp", container.process.id()));
        roots.map(PathBuf::from).collect()
    }

    /// Gives each its order.
    pub(super) fn order(&mut self, schedule: &Schedule) -> Result<()> {
        for (number, container) in (0..).zip(&mut self.all) {
            let mut line = serde_json::to_string(&schedule.order(number))?;
            line.push('\n');
            let orders = container.process.stdin.as_mut().context("no standard input")?;
            orders.write_all(line.as_bytes()).context("cannot give a container its order")?;
        }
        Ok(())
    }

    /// What each has done; to be asked after the schedule's end.
    pub(super) fn carried(&self) -> Result<Vec<Carried>> {
        let carried =
            |container: &Container| match container
                .hear("has done its order", DONE_WITHIN, |said| matches!(said, Said::Done(_)))?
            {
                Said::Done(carried) => Ok(carried),
                other => bail!("a container said something else: {other:?}"),
            };
        self.all.iter().map(carried).collect()
    }
}

impl Container {
    fn start(workspace: &Workspace, parent: &Cgroup, number: u32) -> Result<Self> {
        let folder = workspace.folder(&number.to_string())?;
        prepare(&folder)?;
        let cgroup = parent.directory().join(cgroup_name(number));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        let said = folder.join("said");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("container").arg(&folder).arg(&cgroup);
        command.stdin(Stdio::piped()).stdout(File::create(&said)?);
        let process = command.spawn().context("cannot start a container")?;
        Ok(Self { process, said, cgroup })
    }

    fn hear(&self, what: &str, limit: Duration, wanted: impl Fn(&Said) -> bool) -> Result<Said> {
        wait::until(&format!("container {} {what}", self.cgroup.display()), limit, || {
            for said in lines(&self.said)? {
                if let Said::Failed(error) = said {
                    bail!("container {}: {error}", self.cgroup.display());
                }
                if wanted(&said) {
                    return Ok(Some(said));
                }
            }
            Ok(None)
        })
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // All at once: one after the other they would take a wait each.
        self.all.iter_mut().for_each(|container| drop(container.process.stdin.take()));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let ended = wait::until_true("ends", ENDED_WITHIN, || Ok(self.process.try_wait()?.is_some()));
        if ended.is_err() {
            // Its pid is its own for as long as nobody has waited for it.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            eprintln!("{} stays: {error}", self.cgroup.display());
        }
    }
}

/// As Docker names it under systemd: the agent takes it for a container by its name, too.
fn cgroup_name(number: u32) -> String {
    format!("docker-{number:064x}.scope")
}

/// The whole ones.
fn lines(file: &Path) -> Result<Vec<Said>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).context("a container said what nobody understands")).collect()
}
