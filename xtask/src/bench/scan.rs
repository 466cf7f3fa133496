//! `podsweep scan` against `find`: the same tests on the same tree in the same run, a release build, everything in the
//! cache. First both lists are compared: whoever finds less is not faster.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::host::Host;
use super::timing::{Timed, Timing};
use super::tree::{FILES, Tree};
use crate::Output;
use crate::command::{cargo, root, run as run_command, step};

/// Runs of each program, in turn, so that what else the machine does falls on all of them.
const ROUNDS: u32 = 7;

/// Every regular file that podsweep may ever name. `SETTINGS` stands for the limits of the scan.
const POLICY: &str = "\
apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: bench}
spec:
  select: {cgroups: [\"/bench\"]}
  junk:
  - {name: every-file, paths: [\"/**\"], olderThan: 10s, iKnowThisIsBroad: true}
  scan: SETTINGS
";

/// Limits that this walk never meets: what is measured is the walk.
const UNLIMITED: &str = "{cpu: 1600%, readBytesPerSecond: 10Gi, readIOPS: 1000000, memory: 4Gi}";
/// The limits that a policy has which names none: what is measured is the throttle.
const DEFAULT: &str = "{}";

/// Figures of one run.
#[derive(Serialize)]
struct Measured {
    host: Host,
    files: u32,
    rounds: u32,
    find: Timing,
    podsweep: Timing,
    podsweep_default_limits: Timing,
    /// Podsweep's median wall time for one of find's; below 1, podsweep is faster.
    wall_ratio: f64,
    /// The same of CPU time, agent and worker together.
    cpu_ratio: f64,
}

pub(super) fn run(output: Output) -> Result<()> {
    step("cargo build --release --package podsweep");
    run_command(cargo().args(["build", "--quiet", "--release", "--package", "podsweep"]))?;
    let tree = Tree::make()?;
    let mut find = Timed::new(find(&tree.root()));
    let mut walk = Timed::new(podsweep(&tree, "unlimited", UNLIMITED)?);
    let mut throttled = Timed::new(podsweep(&tree, "default", DEFAULT)?);
    let listed = find.output()?;
    for scan in [&mut walk, &mut throttled] {
        compare(&sorted(&listed), &sorted(&scan.output()?))?;
    }
    let host = Host::of(tree.folder());
    step(&format!("{ROUNDS} rounds"));
    for _ in 0..ROUNDS {
        for program in [&mut find, &mut walk, &mut throttled] {
            program.run()?;
        }
    }
    let measured = Measured::new(host, [&find, &walk, &throttled].map(Timed::timing));
    match output {
        Output::Json => print(&serde_json::to_string(&measured)?),
        Output::Text => print(&measured.table()),
    }
    Ok(())
}

fn find(root: &Path) -> Command {
    let mut find = Command::new("find");
    find.arg(root).args(["-type", "f", "-links", "1"]);
    find.args(["-not", "-newermt", "10 seconds ago", "-not", "-newerct", "10 seconds ago", "-print0"]);
    find
}

fn podsweep(tree: &Tree, name: &str, settings: &str) -> Result<Command> {
    let policy = tree.folder().join(format!("{name}.yaml"));
    fs::write(&policy, POLICY.replace("SETTINGS", settings))
        .with_context(|| format!("cannot write {}", policy.display()))?;
    let mut scan = Command::new(root().join("target/release/podsweep"));
    scan.arg("scan").arg(format!("dir:{}", tree.root().display())).arg("--policy").arg(policy);
    scan.args(["--print", "-0"]);
    Ok(scan)
}

fn sorted(printed: &[u8]) -> Vec<&[u8]> {
    let mut paths: Vec<_> = printed.split(|&byte| byte == 0).filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths
}

fn compare(expected: &[&[u8]], found: &[&[u8]]) -> Result<()> {
    if expected.len() != FILES as usize || expected != found {
        bail!("find names {} files of {FILES}, podsweep {}: not the same", expected.len(), found.len());
    }
    Ok(())
}

impl Measured {
    fn new(host: Host, [find, podsweep, podsweep_default_limits]: [Timing; 3]) -> Self {
        let ratio = |ours: f64, theirs: f64| (ours / theirs * 100.0).round() / 100.0;
        Self {
            host,
            files: FILES,
            rounds: ROUNDS,
            wall_ratio: ratio(podsweep.wall_ms, find.wall_ms),
            cpu_ratio: ratio(podsweep.cpu_ms, find.cpu_ms),
            find,
            podsweep,
            podsweep_default_limits,
        }
    }

    fn table(&self) -> String {
        let head = format!(
            "{}\n{} files, {} rounds, medians, in cache\n\n{:<26}{:>9} {:>9} {:>9} {:>11}",
            self.host.line(),
            self.files,
            self.rounds,
            "",
            "wall ms",
            "best ms",
            "CPU ms",
            "files/s"
        );
        let rows = [
            ("find", &self.find),
            ("podsweep scan", &self.podsweep),
            ("  with default limits", &self.podsweep_default_limits),
        ];
        let line = |(name, timing): (&str, &Timing)| {
            let rate = f64::from(self.files) / timing.wall_ms * 1e3;
            let Timing { wall_ms, wall_ms_best, cpu_ms, .. } = timing;
            format!("{name:<26}{wall_ms:>9.0} {wall_ms_best:>9.0} {cpu_ms:>9.0} {rate:>11.0}")
        };
        let commands = rows.map(|(_, timing)| format!("  {}", timing.command));
        let (wall, cpu) = (self.wall_ratio, self.cpu_ratio);
        format!(
            "{head}\n{}\n\npodsweep / find: {wall:.2} of the wall time, {cpu:.2} of the CPU time\n\n{}",
            rows.map(line).join("\n"),
            commands.join("\n")
        )
    }
}

#[allow(clippy::print_stdout, reason = "the figures are the command's output")]
fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_list_is_no_match() {
        let paths: Vec<String> = (0..FILES).map(|number| number.to_string()).collect();
        let all: Vec<&[u8]> = paths.iter().map(String::as_bytes).collect();
        assert!(compare(&all, &all).is_ok());
        assert!(compare(&all, &all[1..]).is_err());
        assert!(compare(&all[1..], &all[1..]).is_err(), "find itself must see every file");
    }
}
