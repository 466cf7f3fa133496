//! QEMU's command line. In: the files of one run. Out: a command. Pure but for the names of the files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::accelerator::Accelerator;
use super::root_image::INIT_PATH;
use crate::command::program;

pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// As many as the smallest machine that CI runs on has, and enough for tests of several creators at once.
const CPUS: &str = "2";
/// The tests' filesystems on tmpfs and the page cache included, with room.
const MEMORY_MIB: &str = "3072";

/// What one guest is made of.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) accelerator: Accelerator,
    /// A bzImage.
    pub(crate) kernel: PathBuf,
    /// What the guest writes to it is thrown away.
    pub(crate) root: PathBuf,
    /// The same.
    pub(crate) payload: PathBuf,
    /// Written by the guest.
    pub(crate) results: PathBuf,
    /// The kernel's messages, a file of the host.
    pub(crate) console: PathBuf,
    /// For what guests write to disks that are thrown away.
    pub(crate) scratch: PathBuf,
    /// The terminal's keys all go to the guest, Ctrl-C too.
    pub(crate) interactive: bool,
}

impl Machine {
    /// The command that runs it. What the guest's command prints goes to QEMU's standard output. Ends with whoever
    /// starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = program("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]).args(self.arguments());
        command.env("TMPDIR", &self.scratch);
        command
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = words(&["-M", "q35", "-smp", CPUS, "-m", MEMORY_MIB]);
        arguments.extend(words(match self.accelerator {
            Accelerator::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
            // sleep=off: time in which nobody runs passes at once.
            Accelerator::Counting => {
                &["-accel", "tcg,thread=single", "-cpu", "max", "-icount", "shift=0,sleep=off"]
            }
        }));
        arguments.extend(words(&["-nodefaults", "-display", "none", "-no-reboot"]));
        arguments.extend(words(&["-kernel"]).into_iter().chain([self.kernel.clone().into_os_string()]));
        arguments.extend(words(&["-append", &kernel_command_line()]));
        arguments.extend([OsString::from("-serial"), option("file:", &self.console)]);
        let signals = if self.interactive { "off" } else { "on" };
        arguments.extend(words(&["-chardev", &format!("stdio,id=command,signal={signals}")]));
        arguments.extend(words(&["-serial", "chardev:command"]));
        // Its driver is in all kernels. It names its disks in the order in which it happens to find them: so, one.
        arguments.extend(disk("nvme,serial=podsweep", "root", &self.root, "snapshot=on,"));
        // In this order, they are vda and vdb of every guest.
        arguments.extend(disk("virtio-blk-pci", "payload", &self.payload, "snapshot=on,"));
        arguments.extend(disk("virtio-blk-pci", "results", &self.results, ""));
        arguments
    }
}

/// - `panic=-1` with QEMU's `-no-reboot`: a panic ends the guest, and `oops=panic` makes every oops one.
/// - `preempt=full`: the hardest for programs that count. Not every distribution's default; kernels without the choice
///   say nothing.
/// - `mitigations=off`: TCG runs no instruction speculatively, and each costs time.
fn kernel_command_line() -> String {
    format!(
        "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rootwait rw init={INIT_PATH} panic=-1 oops=panic \
         mitigations=off preempt=full"
    )
}

fn disk(device: &str, name: &str, file: &Path, options: &str) -> [OsString; 4] {
    // A crash of the host leaves nothing worth keeping: no flush of the guest's is passed on.
    let drive = option(&format!("id={name},if=none,format=raw,cache=unsafe,{options}file="), file);
    ["-drive".into(), drive, "-device".into(), format!("{device},drive={name}").into()]
}

/// QEMU ends an option at a comma; two stand for one.
fn option(before: &str, file: &Path) -> OsString {
    format!("{before}{}", file.to_string_lossy().replace(',', ",,")).into()
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            kernel: "/cache/vmlinuz".into(),
            root: "/cache/a,b/root.ext4".into(),
            payload: "/run/payload.ext4".into(),
            results: "/run/results.tar".into(),
            console: "/run/console.log".into(),
            scratch: "/run".into(),
            interactive: false,
        }
    }

    fn line(machine: &Machine) -> String {
        machine
            .arguments()
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn only_the_results_are_written_to_a_file_of_the_host() {
        let drives: Vec<_> =
            machine().arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let drives: Vec<_> = drives.iter().filter(|word| word.contains("format=raw")).collect();
        assert_eq!(drives.len(), 3);
        for drive in drives {
            assert_eq!(drive.contains("snapshot=on"), !drive.contains("results.tar"), "{drive}");
        }
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_an_option() {
        assert!(line(&machine()).contains("file=/cache/a,,b/root.ext4 "), "{}", line(&machine()));
    }

    #[test]
    fn kvm_is_never_fallen_back_from_in_silence() {
        let kvm = Machine { accelerator: Accelerator::Kvm, ..machine() };
        assert!(line(&kvm).contains("-accel kvm -cpu host"));
        assert!(!line(&kvm).contains("tcg"));
        assert!(!line(&machine()).contains("kvm"));
    }

    #[test]
    fn the_controller_that_names_disks_as_it_finds_them_has_one() {
        let line = line(&machine());
        assert_eq!(line.matches("-device nvme").count(), 1);
        let [payload, results] =
            ["payload", "results"].map(|name| line.find(&format!("virtio-blk-pci,drive={name}")));
        assert!(payload.is_some() && payload < results, "{line}");
    }

    #[test]
    fn a_guest_that_panics_ends() {
        let line = line(&machine());
        assert!(line.contains("-no-reboot"));
        assert!(line.contains("panic=-1 oops=panic"));
    }

    #[test]
    fn ctrl_c_is_the_guests_only_when_a_person_talks_to_it() {
        assert!(line(&machine()).contains("stdio,id=command,signal=on"));
        assert!(line(&Machine { interactive: true, ..machine() }).contains("stdio,id=command,signal=off"));
    }
}
