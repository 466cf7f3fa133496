//! Other kernels, and cgroup v2 with every controller, in QEMU.
//!
//! In: the name of a kernel, and a command or the tests that are for guests. Out: what the command printed, its exit
//! code, and below `target/vm/RELEASE` the console and what the guest left in `/results`. Must never change the
//! machine: kernels are unpacked in the cache, images are made without a mount, guests have no network.

mod accelerator;
mod boot;
mod catalogue;
mod console;
mod disk;
mod kernel;
mod payload;
mod programs;
mod qemu;
mod results;
mod root_image;
mod store;
mod suite;

use std::fs;
use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::accelerator::Accelerator;
use self::catalogue::Entry;
use self::kernel::Kernel;
use self::payload::Payload;
use self::qemu::Machine;
use self::store::Store;
use self::suite::Suite;
use crate::apt::is_root;
use crate::command::{built, step, target, which};
use crate::lock::alone_in;

pub(crate) use self::qemu::QEMU;

/// For a test run without `--kernel`. They stand on both sides of every hook that has been renamed and of every field
/// that has moved since 6.1; those between them add the least, and run by `--all`.
const DEFAULT_KERNELS: [&str; 2] = ["oldest", "newest"];
/// All tests of one kernel. In TCG, 297 s were measured on two busy cores, 680 s where other work took three quarters
/// of them. nextest ends a test that hangs sooner.
const TESTS_WITHIN: Duration = Duration::from_mins(15);
/// A guest that comes up in KVM does so within 2 s.
const TRIAL_WITHIN: Duration = Duration::from_secs(15);
/// The workspace's programs that a command may want to start.
const PROGRAMS: [&str; 4] = ["podsweep", "demo", "workload", "kernel-worker"];

/// Why no guest can be run here, if none can.
pub(crate) fn obstacle() -> Option<String> {
    let missing = which("apt-get").is_none().then_some("needs Debian's apt-get: its kernels are booted");
    let other = (std::env::consts::ARCH != "x86_64").then_some("needs an x86_64 machine");
    let no_qemu =
        (which(QEMU).is_none() && !is_root()).then_some("needs root (or qemu-system-x86 installed)");
    missing.or(other).or(no_qemu).map(str::to_owned)
}

/// Prints the kernels that can be booted, and which are cached. `update`: asks the mirrors again.
#[allow(clippy::print_stdout, reason = "what the command is for")]
pub(crate) fn list(update: bool) -> Result<()> {
    let store = Store::open()?;
    let catalogue = store.catalogue(update)?;
    for entry in catalogue.entries() {
        let cached = store.cached(entry).map_or("not cached", |_| "cached");
        println!("{:<6} {:<20} {:<20} {cached}", entry.series, entry.version, entry.suite);
    }
    Ok(())
}

/// Runs a command in a guest; its exit code.
pub(crate) fn command(kernel: &str, update: bool, words: &[String], limit: Duration) -> Result<ExitCode> {
    let store = Store::open()?;
    let entry = store.catalogue(update)?.named(kernel)?.clone();
    let _alone = alone_in(&folder()?)?;
    let mut payload = Payload::in_folder(folder()?.join("command"))?;
    payload.show(&target()?)?;
    for name in PROGRAMS {
        payload.add_program(&built("debug", name)?)?;
    }
    let programs = payload::script(&[built("debug", "")?.to_string_lossy().into_owned()]);
    let command = payload::script(words);
    payload.set_command(&format!("PATH=$PATH:{programs}\nexport PATH\n{command}"))?;
    let is_interactive = stdin().is_terminal();
    if is_interactive {
        payload.add_text("interactive", "")?;
    }
    let image = payload.image()?;
    let guest = Guest { store: &store, entry: &entry, payload: &image, is_interactive, accelerator: None };
    Ok(ExitCode::from(guest.run(limit)?))
}

/// Runs one program in a guest whose clocks count instructions.
pub(crate) fn count_instructions(
    kernel: &str,
    program: &Path,
    arguments: &[&str],
    limit: Duration,
) -> Result<()> {
    let store = Store::open()?;
    let entry = store.catalogue(false)?.named(kernel)?.clone();
    let _alone = alone_in(&folder()?)?;
    let mut payload = Payload::in_folder(folder()?.join("bench"))?;
    payload.show(&target()?)?;
    payload.add_program(program)?;
    let words = std::iter::once(program.to_string_lossy().into_owned());
    let words: Vec<_> = words.chain(arguments.iter().map(|word| (*word).to_owned())).collect();
    // What a program says of its progress on a terminal must not mix with what it prints; what went wrong follows.
    let command = payload::script(&words);
    payload.set_command(&format!("{command} 2> /tmp/said\ncode=$?\ncat /tmp/said\nexit $code"))?;
    let image = payload.image()?;
    let counting = Some(Accelerator::Counting);
    let guest =
        Guest { store: &store, entry: &entry, payload: &image, is_interactive: false, accelerator: counting };
    match guest.run(limit)? {
        0 => Ok(()),
        code => bail!("{} ended with {code} in the guest; what it said is above", program.display()),
    }
}

/// Runs the tests that are for guests on each of the kernels named; all of them where `all`. `arguments` are passed on
/// to nextest in the guest.
pub(crate) fn test(kernels: &[String], all: bool, arguments: &[String]) -> Result<()> {
    let store = Store::open()?;
    let entries = chosen(&store, kernels, all)?;
    let _alone = alone_in(&folder()?)?;
    let started = Instant::now();
    let mut payload = Payload::in_folder(folder()?.join("tests"))?;
    Suite::list()?.pack(&mut payload, arguments)?;
    let image = payload.image()?;
    step(&format!("vm: payload made in {:.1} s", started.elapsed().as_secs_f32()));
    let mut failed = Vec::new();
    for entry in entries {
        let guest =
            Guest { store: &store, entry: &entry, payload: &image, is_interactive: false, accelerator: None };
        match guest.run(TESTS_WITHIN) {
            Ok(0) => {}
            Ok(code) => failed.push(format!("{}: nextest ended with {code}", entry.series)),
            Err(error) => failed.push(format!("{}: {error:#}", entry.series)),
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("tests in guests failed: {}", failed.join("; ")) }
}

fn chosen(store: &Store, kernels: &[String], all: bool) -> Result<Vec<Entry>> {
    let catalogue = store.catalogue(false)?;
    if all {
        return Ok(catalogue.entries().to_vec());
    }
    if kernels.is_empty() {
        return DEFAULT_KERNELS.iter().map(|name| catalogue.named(name).cloned()).collect();
    }
    kernels.iter().map(|name| catalogue.named(name).cloned()).collect()
}

/// Everything that runs leave behind.
fn folder() -> Result<PathBuf> {
    let folder = target()?.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// One guest to be run.
struct Guest<'a> {
    store: &'a Store,
    entry: &'a Entry,
    payload: &'a Path,
    is_interactive: bool,
    /// `None`: whatever is fastest here.
    accelerator: Option<Accelerator>,
}

impl Guest<'_> {
    /// The command's exit code; an error where the guest, or its kernel, failed.
    fn run(&self, limit: Duration) -> Result<u8> {
        let (kernel, machine) = self.prepare()?;
        let name = format!("vm: {} ({})", kernel.release, machine.accelerator);
        let ended = boot::run(&machine, &name, limit)?;
        step(&format!(
            "{name}: up after {:.1} s, ended after {:.1} s",
            ended.up_after.as_secs_f32(),
            ended.took.as_secs_f32()
        ));
        let console = fs::read(&machine.console).unwrap_or_default();
        if let Some(defect) = console::defect(&String::from_utf8_lossy(&console)) {
            eprintln!("{defect}");
            bail!("{name}: its kernel met a defect, shown above; all is in {}", machine.console.display());
        }
        results::take(&machine.results, &machine.scratch.join("results"))
    }

    /// Everything that the guest needs. Nobody else changes the cache meanwhile.
    fn prepare(&self) -> Result<(Kernel, Machine)> {
        let _alone = alone_in(self.store.folder())?;
        let kernel = self.store.kernel(self.entry)?;
        let folder = folder()?.join(&kernel.release);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let machine = self.machine(&kernel, &folder)?;
        Ok((kernel, machine))
    }

    fn machine(&self, kernel: &Kernel, folder: &Path) -> Result<Machine> {
        let mut machine = Machine {
            accelerator: Accelerator::Kvm,
            kernel: kernel.image(),
            root: root_image::of(kernel)?,
            payload: self.payload.to_owned(),
            results: folder.join("results.disk"),
            console: folder.join("console.log"),
            scratch: folder.to_owned(),
            interactive: self.is_interactive,
        };
        disk::empty(&machine.results, results::BYTES)?;
        let trial = || boot::comes_up(&machine, TRIAL_WITHIN);
        machine.accelerator = match self.accelerator {
            Some(asked) => asked,
            None => Accelerator::choose(&self.store.accelerator_file(), trial)?,
        };
        Ok(machine)
    }
}
