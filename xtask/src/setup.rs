//! What the other commands need and this machine lacks. Each thing is looked for first, so that a second run takes
//! milliseconds and needs no network.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::command::{cargo, output, quick_to_build, run as run_command, step};
use crate::vm::QEMU;
use crate::{apt, ebpf_toolchain, kubernetes, kubernetes_validate, prometheus};

/// What a command needs besides a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The programs that kernel tests, node tests and the demo run.
    Containers,
    /// cargo-nextest.
    TestRunner,
    /// cargo-fuzz, and what compiles libFuzzer.
    Fuzzing,
    /// QEMU, and what is put into its guests. They run containers too.
    Guests,
    /// What a cluster of the tests is made of. Its nodes run containers too.
    Kubernetes,
}

/// What compiles, and the Debian package that holds it.
const BUILD: [(&str, &str); 2] = [
    ("cc", "gcc"),                         // links, and compiles the embedded SQLite
    ("/usr/include/stdio.h", "libc6-dev"), // the same
];

/// What [`Need::Containers`] stands for.
const CONTAINERS: [(&str, &str); 4] = [
    ("runc", "runc"),           // starts the containers of node tests and demo
    ("mkfs.ext4", "e2fsprogs"), // loop-mounted filesystems of the kernel tests
    ("mkfs.xfs", "xfsprogs"),   // the same
    ("strace", "strace"),       // every system call of a sweep
];

/// What [`Need::Fuzzing`] stands for, besides cargo-fuzz.
const FUZZING: [(&str, &str); 1] = [("c++", "g++")];

/// What [`Need::Guests`] stands for, besides [`CONTAINERS`].
const GUESTS: [(&str, &str); 5] = [
    (QEMU, "qemu-system-x86"),
    ("strip", "binutils"),     // makes a tenth of a test's binary
    ("dpkg-deb", "dpkg"),      // unpacks kernels
    ("depmod", "kmod"),        // lists their modules
    ("setpriv", "util-linux"), // ends QEMU with whoever started it
];

/// What [`Need::Kubernetes`] stands for, besides [`CONTAINERS`], Kubernetes itself and kubernetes-validate.
const KUBERNETES: [(&str, &str); 3] = [
    ("dpkg-deb", "dpkg"),   // unpacks what it is built from
    ("chrt", "util-linux"), // builds it while nobody else wants the CPU
    ("ip", "iproute2"),     // the bridge of a node, in a network namespace
];

/// The root filesystem of all test containers. An installed Debian has the dynamic one for its initramfs, which does
/// not start in a container; Debian puts one in place of the other, and its initramfs takes either.
const BUSYBOX: (&str, &str) = ("/bin/busybox", "busybox-static");

/// A program that cargo installs, and calls as `cargo NAME`.
struct Subcommand {
    name: &'static str,
    /// Pinned: the newest may ask for a newer Rust than this workspace does. Any version that is there already will do.
    version: &'static str,
    options: &'static [&'static str],
}

/// Without its updater, which brings a TLS library in C.
const NEXTEST: Subcommand =
    Subcommand { name: "nextest", version: "0.9.151", options: &["--no-default-features"] };

const FUZZ: Subcommand = Subcommand { name: "fuzz", version: "0.13.2", options: &[] };

/// Installs what is missing for a build and for `needs`.
pub(crate) fn run(needs: &[Need]) -> Result<()> {
    check_architecture()?;
    ebpf_toolchain::check_named()?;
    let mut packages = apt::missing(&BUILD);
    if needs.contains(&Need::Guests) {
        packages.extend(apt::missing(&GUESTS));
    }
    if needs.contains(&Need::Containers) {
        packages.extend(apt::missing(&CONTAINERS));
        packages.extend((!is_static(Path::new(BUSYBOX.0))).then_some(BUSYBOX.1));
    }
    if needs.contains(&Need::Fuzzing) {
        packages.extend(apt::missing(&FUZZING));
    }
    if needs.contains(&Need::Kubernetes) {
        packages.extend(apt::missing(&KUBERNETES));
        packages.extend(kubernetes_validate::missing_package());
    }
    packages.extend(ebpf_toolchain::missing_packages());
    apt::install(&packages)?;
    ebpf_toolchain::install_linker()?;
    for (need, subcommand) in [(Need::TestRunner, NEXTEST), (Need::Fuzzing, FUZZ)] {
        if needs.contains(&need) {
            subcommand.install()?;
        }
    }
    if needs.contains(&Need::Kubernetes) {
        kubernetes::install()?;
        kubernetes_validate::install()?;
        prometheus::install()?;
    }
    Ok(())
}

/// ldd fails for a static program.
fn is_static(program: &Path) -> bool {
    program.is_file() && output(Command::new("ldd").arg(program).stderr(Stdio::null())).is_none()
}

/// The kernel side knows the system call numbers of these only.
fn check_architecture() -> Result<()> {
    match std::env::consts::ARCH {
        "x86_64" | "aarch64" => Ok(()),
        other => bail!("podsweep builds on x86_64 and aarch64, this is {other}"),
    }
}

impl Subcommand {
    fn install(&self) -> Result<()> {
        let Self { name, version, options } = self;
        if output(cargo().args([name, "--version"]).stderr(Stdio::null())).is_some() {
            return Ok(());
        }
        step(&format!("cargo install cargo-{name} {version} (once, some minutes)"));
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", &format!("cargo-{name}"), "--version", version]);
        install.args(*options);
        // It only starts other programs.
        run_command(quick_to_build(&mut install).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_static;

    #[test]
    fn a_program_that_is_loaded_with_libraries_or_missing_is_not_static() {
        assert!(!is_static(&std::env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/no/such/program")));
    }
}
