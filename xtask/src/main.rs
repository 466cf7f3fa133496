//! Every developer command of podsweep: `cargo xtask --help` is the map. What comes in is a command line; what goes
//! out are runs of cargo, apt-get and podsweep itself, one line said for each. Must never hold logic that a test or
//! the product needs: a person must be able to run each printed command by hand.

mod aarch64;
mod apt;
mod bench;
mod command;
mod ebpf_toolchain;
mod fuzz;
mod kubernetes;
mod kubernetes_validate;
mod levels;
mod lint;
mod lock;
mod manifests;
mod private_apt;
mod prometheus;
mod record_btf;
mod references;
mod setup;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use apt::is_root;
use command::{built, cargo, program, root, run, step};
use kubernetes::Extent;
use levels::Level;
use setup::Need;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                      the main job on a real container, told as it happens
  cargo xtask demo -o json              the same, as one JSON object on stdout
  cargo xtask demo --cluster            a flooding pod on a real node: evicted without podsweep, not with it
  cargo xtask test                      every test level that this machine can run
  cargo xtask test --level unit         only what needs no root
  cargo xtask test --level node -- storm        node tests whose name contains `storm`
  cargo xtask test --level adversary --long     a hostile container, until 1,000,000 swaps were made
  cargo xtask test --level vm --kernel 6.12     on that kernel only, in QEMU
  cargo xtask test --level cluster      a real API server and kubelet; the first time, they are built
  cargo xtask fuzz glob --seconds 600           fuzz one target for ten minutes
  cargo xtask vm --kernel 6.1 -- podsweep doctor    one command on another kernel
  cargo xtask lint                      what CI checks besides the tests
  cargo xtask gen                       write the generated references in docs/ again

Set-up happens by itself and costs nothing once it is done. Root and the package registries are
needed only for what is missing: C compiler, eBPF toolchain, bpf-linker, cargo-nextest, runc,
busybox-static, e2fsprogs, xfsprogs; for fuzzing a C++ compiler and cargo-fuzz; for lint Debian's
clippy, and its standard library and C compiler for aarch64; for guests QEMU and kernels; for
clusters iproute2 and a Kubernetes, which is built from Debian's source package (once, some nine
minutes).

Environment:
  PODSWEEP_CACHE        where bpf-linker, kernels, root images, Kubernetes and aarch64's standard library
                        are kept (default ~/.cache/podsweep)
  KUBEBUILDER_ASSETS    a folder with kube-apiserver, etcd and kubectl: no Kubernetes is built; where it
                        has no kubelet, tests of a node are left out
  PODSWEEP_EBPF_OBJECT  a ready eBPF object: no eBPF toolchain is needed
  PODSWEEP_EBPF_RUSTC   a rustc with a prebuilt core for bpfel-unknown-none
  BPF_LINKER            a ready bpf-linker";

/// Every developer command of podsweep.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing for the commands below; nothing where nothing is.
    Setup {
        /// What these test levels need as well: Kubernetes for `cluster`, QEMU for `vm`.
        #[arg(long, value_enum)]
        level: Vec<Level>,
    },
    /// Build the agent and the tests' programs.
    Build {
        /// Optimised.
        #[arg(long)]
        release: bool,
    },
    /// Run the main job on a real container: storm, burst, scan, sweep, observation.
    Demo {
        /// On a real Kubernetes node: a pod that floods the disk is evicted, with podsweep it is not. Some six minutes.
        #[arg(long)]
        cluster: bool,
        /// What to print: the story, or one JSON object.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Run every test level that this machine can run; say which it cannot, and why.
    Test {
        /// Only these levels.
        #[arg(long, value_enum)]
        level: Vec<Level>,
        /// The level `vm`: only on these kernels (6.12, oldest, newest) [default: oldest and newest].
        #[arg(long)]
        kernel: Vec<String>,
        /// The level `vm`: on every kernel that `cargo xtask vm` lists.
        #[arg(long, conflicts_with = "kernel")]
        all: bool,
        /// The level `adversary`: as often as its aims ask for, not as long as CI can wait.
        #[arg(long)]
        long: bool,
        /// Passed on to `cargo nextest run`.
        #[arg(last = true)]
        nextest: Vec<String>,
    },
    /// Run a command in a guest with another kernel; without a command, list the kernels.
    ///
    /// The guest has cgroup v2 with every controller, PSI, BTF, runc and busybox, the workspace's programs in PATH, no
    /// network, and a disk that is thrown away. From a terminal, the command has the terminal: `-- sh` is a shell. The
    /// exit code is the command's. What it leaves in /results is in target/vm/RELEASE/results afterwards, the kernel's
    /// console beside it.
    Vm {
        /// Which kernel: a series (6.12), `oldest` or `newest`.
        #[arg(long, default_value = "newest")]
        kernel: String,
        /// End the guest after so many minutes.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=480))]
        minutes: u64,
        /// Ask Debian's mirrors first which kernels there are now; else they are asked once.
        #[arg(long)]
        update: bool,
        /// The command.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Fuzz what reads a stranger's words: each target for some seconds, one line each.
    Fuzz(fuzz::Arguments),
    /// Check formatting, clippy, aarch64, dependencies and generated references.
    Lint,
    /// Format every crate.
    Fmt,
    /// Write the generated references in docs/ again.
    Gen {
        /// Write nothing; fail where a reference is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Record what the hooks need of a kernel's types, for the tests that need no such kernel.
    RecordBtf {
        /// A vmlinuz or vmlinux with BTF, or the BTF itself.
        kernel: PathBuf,
        /// VERSION-PROCESSOR, as in 6.6.30-aarch64.
        #[arg(long)]
        name: String,
    },
    /// Measure something and print how.
    Bench(bench::Arguments),
}

/// What a command that measures prints.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: the demo's story as it happens, then a summary; a benchmark's table.
    Text,
    /// One object on stdout, nothing else.
    Json,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<ExitCode> {
    let done = match task {
        Task::Setup { level } => {
            setup::run(&[&[Need::TestRunner, Need::Containers][..], &levels::needs(&level)].concat())
        }
        Task::Build { release } => setup::run(&[]).and_then(|()| build(release)),
        Task::Demo { cluster, output } => demo(cluster, output),
        Task::Test { level, kernel, all, long, nextest } => {
            test(&level, &Kernels { named: kernel, all }, long, &nextest)
        }
        Task::Vm { kernel, minutes, update, command } => return guest(&kernel, minutes, update, &command),
        Task::Fuzz(arguments) => setup::run(&[Need::Fuzzing]).and_then(|()| fuzz::run(&arguments)),
        Task::Lint => setup::run(&[Need::TestRunner]).and_then(|()| lint::run()),
        Task::Fmt => lint::format(),
        Task::Gen { check } => setup::run(&[Need::TestRunner]).and_then(|()| references::run(check)),
        Task::RecordBtf { kernel, name } => {
            setup::run(&[Need::TestRunner]).and_then(|()| record_btf::run(&kernel, &name))
        }
        Task::Bench(arguments) => setup::run(&arguments.needs()).and_then(|()| bench::run(&arguments)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn build(release: bool) -> Result<()> {
    step("build");
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace", "--bins", "--exclude", "xtask"]);
    if release {
        build.arg("--release");
    }
    run(&mut build)
}

fn demo(cluster: bool, output: Output) -> Result<()> {
    if !is_root() {
        bail!("the demo needs root: it starts a container, loads eBPF programs, makes cgroups and mounts");
    }
    if cluster && let Some(why) = kubernetes::obstacle() {
        bail!("the cluster's demo cannot run here: {why}");
    }
    if cluster && kubernetes::extent() == Extent::ControlPlane {
        bail!("the folder KUBEBUILDER_ASSETS names has no kubelet for the demo: unset it, and one is built");
    }
    let needs = if cluster { &[Need::Containers, Need::Kubernetes][..] } else { &[Need::Containers] };
    setup::run(needs)?;
    build(false)?;
    step("demo");
    let mut demo = program(built("debug", "demo")?);
    if cluster {
        demo.arg("--cluster");
    }
    if output == Output::Json {
        demo.args(["-o", "json"]);
    }
    let status = demo.current_dir(root()).status()?;
    if !status.success() {
        bail!("the demo failed ({status}); what failed is said above");
    }
    Ok(())
}

/// On which kernels the level `vm` runs.
struct Kernels {
    named: Vec<String>,
    all: bool,
}

/// Read by the tests of the level `adversary`: `1` for the long run.
const LONG: &str = "PODSWEEP_TEST_LONG";

fn test(only: &[Level], kernels: &Kernels, long: bool, nextest: &[String]) -> Result<()> {
    let (can, cannot) = levels::sort(only);
    levels::say(&cannot);
    if can.is_empty() {
        bail!("none of the levels asked for can run here; why is said above");
    }
    setup::run(&levels::needs(&can))?;
    build(false)?;
    for level in &can {
        step(&format!("{level}: {}", level.about()));
        if let Some(why) = levels::left_out(*level) {
            step(&format!("{level}: {why}"));
        }
    }
    // Asked for by name, a test is wanted, and no minutes of fuzzing.
    let fuzzed = can.contains(&Level::Adversary) && nextest.is_empty();
    let (in_guests, here): (Vec<_>, Vec<_>) = can.into_iter().partition(|level| *level == Level::Vm);
    let tests = |levels: &[Level]| {
        let mut nextest_run = cargo();
        nextest_run.args(["nextest", "run", "--workspace", "-E", &levels::filter(levels)]);
        if long {
            nextest_run.args(["--profile", "long"]).env(LONG, "1");
        }
        run(nextest_run.args(nextest))
    };
    let on_this_kernel = if here.is_empty() { Ok(()) } else { tests(&here) };
    let fuzzing = if fuzzed { fuzz::run_all() } else { Ok(()) };
    let in_guests =
        if in_guests.is_empty() { Ok(()) } else { vm::test(&kernels.named, kernels.all, nextest) };
    all([on_this_kernel, fuzzing, in_guests])
}

/// What fails on this kernel may well succeed on another, and that is worth knowing: each part has run, whatever became
/// of those before it.
fn all(parts: [Result<()>; 3]) -> Result<()> {
    let failed: Vec<String> =
        parts.into_iter().filter_map(|part| part.err().map(|error| format!("{error:#}"))).collect();
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

fn guest(kernel: &str, minutes: u64, update: bool, command: &[String]) -> Result<ExitCode> {
    setup::run(&[Need::TestRunner, Need::Containers, Need::Guests])?;
    if command.is_empty() {
        return vm::list(update).map(|()| ExitCode::SUCCESS);
    }
    build(false)?;
    vm::command(kernel, update, command, Duration::from_mins(minutes))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_part_that_failed_is_told() {
        let failed = |why: &'static str| Err(anyhow::anyhow!(why));
        let told = super::all([failed("tests"), Ok(()), failed("guests")]).unwrap_err().to_string();
        assert_eq!(told, "tests\nguests");
        assert!(super::all([Ok(()), Ok(()), Ok(())]).is_ok());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
