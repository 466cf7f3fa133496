//! Fuzzing: the targets of fuzz/, each for some seconds, by cargo-fuzz on the stable compiler (no sanitizer: the code
//! is safe Rust, so what there is to find are panics, hangs and answers that are wrong).
//!
//! In: targets, seconds. Out: one line each; for a crash, what it said and the command that repeats it. Must never:
//! write into the committed corpus: what a run finds is kept below fuzz/target.

use std::fs;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, output, root, run as run_command, shown, step};

/// Of each target where CI runs them: enough to load the seeds and try some 20,000 inputs of the slowest.
pub(crate) const CI_SECONDS: u32 = 15;

/// How cargo-fuzz is to build. One codegen unit, its default, takes twice as long to build.
const BUILD: [&str; 4] = ["--sanitizer", "none", "--codegen-units", "16"];

/// For one input, seconds: none takes a hundredth of it, so one that does hangs.
const INPUT_SECONDS: u32 = 25;

/// Lines of a crash's output that are shown; the rest is in the log.
const MAX_SHOWN: usize = 8;

/// What somebody wants to have fuzzed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets [default: all].
    targets: Vec<String>,
    /// How long to run each.
    #[arg(long, default_value_t = CI_SECONDS, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

/// Runs what is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known = targets()?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !known.contains(target)) {
        bail!("{unknown}: no such target; there are {}", known.join(", "));
    }
    let targets = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    step(&format!(
        "fuzz: build (the first time, all crates: some minutes), then {} s each",
        arguments.seconds
    ));
    run_command(cargo().args(["fuzz", "build"]).args(BUILD))?;
    let mut crashed = Vec::new();
    for target in targets {
        let log = Log::of(target)?;
        let status = fuzz(target, arguments.seconds, &log)?;
        let said = log.read()?;
        if status.success() {
            step(&format!("fuzz: {target}: {}", summary(&said)));
        } else {
            step(&format!("fuzz: {target}: {status}\n{}", crash(target, &said, &log)));
            crashed.push(target.as_str());
        }
    }
    if crashed.is_empty() { Ok(()) } else { bail!("fuzzing found something in {}", crashed.join(", ")) }
}

/// All targets, for [`CI_SECONDS`] each.
pub(crate) fn run_all() -> Result<()> {
    run(&Arguments { targets: Vec::new(), seconds: CI_SECONDS })
}

fn targets() -> Result<Vec<String>> {
    let listed = output(cargo().args(["fuzz", "list"])).context("`cargo fuzz list` failed")?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn fuzz(target: &str, seconds: u32, log: &Log) -> Result<ExitStatus> {
    let found = root().join("fuzz/target/corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let file = fs::File::create(&log.0).with_context(|| format!("cannot make {}", log.0.display()))?;
    let mut fuzz = cargo();
    fuzz.args(["fuzz", "run"]).args(BUILD).arg(target);
    // The first is written to, the others are read.
    fuzz.args([&found, &root().join("fuzz/corpus").join(target)]);
    fuzz.args(["--", "-print_final_stats=1", &format!("-max_total_time={seconds}")]);
    fuzz.arg(format!("-timeout={INPUT_SECONDS}"));
    fuzz.stdout(stderr()).stderr(file).status().context("cannot start cargo fuzz")
}

/// What cargo-fuzz and libFuzzer say of one target.
struct Log(PathBuf);

impl Log {
    fn of(target: &str) -> Result<Self> {
        let folder = root().join("fuzz/target/log");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder.join(format!("{target}.log"))))
    }

    /// Inputs are quoted in it, so it need not be text.
    fn read(&self) -> Result<String> {
        let bytes = fs::read(&self.0).with_context(|| format!("cannot read {}", self.0.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Executions, and how much of the program they reached.
fn summary(log: &str) -> String {
    let executions = word_after(log, "stat::number_of_executed_units:").unwrap_or("?");
    let last = log.lines().rfind(|line| line.contains("DONE")).unwrap_or_default();
    let (edges, inputs) = (word_after(last, " cov:"), word_after(last, " corp:"));
    let inputs = inputs.and_then(|inputs| inputs.split('/').next());
    format!(
        "{executions} executions, {} edges covered by {} inputs",
        edges.unwrap_or("?"),
        inputs.unwrap_or("?")
    )
}

fn word_after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.split_once(label)?.1.split_whitespace().next()
}

/// What went wrong, and the command that shows it again.
fn crash(target: &str, log: &str, file: &Log) -> String {
    let what: Vec<&str> = log
        .lines()
        .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"))
        .take_while(|line| !line.starts_with("stack backtrace"))
        .take(MAX_SHOWN)
        .collect();
    let input = word_after(log, "Test unit written to").map_or("INPUT", |input| {
        Path::new(input).strip_prefix(root()).ok().and_then(Path::to_str).unwrap_or(input)
    });
    let again = shown(Command::new("cargo").args(["fuzz", "run"]).args(BUILD).args([target, input]));
    format!("{}\nall it said: {}\nagain: {again}", what.join("\n"), file.0.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_one_line() {
        let log = "#2\tINITED cov: 3 ft: 4 corp: 1/1b\n#9\tDONE   cov: 15884 ft: 47993 corp: 1016/798Kb lim: 1608\n\
                   stat::number_of_executed_units: 26098\n";
        assert_eq!(summary(log), "26098 executions, 15884 edges covered by 1016 inputs");
    }

    #[test]
    fn a_crash_is_told_with_the_command_that_repeats_it() {
        let input = root().join("fuzz/artifacts/glob/crash-1");
        let log = format!(
            "noise\nthread panicked at glob.rs:40:9:\nleft\nTest unit written to {}\n",
            input.display()
        );
        let told = crash("glob", &log, &Log("x.log".into()));
        assert!(told.starts_with("thread panicked at glob.rs:40:9:\nleft\n"), "{told}");
        let again =
            "again: `cargo fuzz run --sanitizer none --codegen-units 16 glob fuzz/artifacts/glob/crash-1`";
        assert!(told.ends_with(again), "{told}");
    }
}
