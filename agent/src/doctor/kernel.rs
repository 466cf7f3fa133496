//! The kernel: its version, how creates can be counted, and the system calls that scan and sweep stand on.

use std::fs::read_to_string;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::{Check, State};
use crate::confinement::is_enforced;
use crate::kernel::Psi;
use crate::observe::{self, Gap, Tier};

/// `close_range` came with 5.9, BPF ring buffers and `STATX_MNT_ID` with 5.8; the other calls that are needed are older.
const OLDEST: (u32, u32) = (5, 9);

const NEWER_KERNEL: &str = "run Linux 5.9 or later";
const ALLOW_CALL: &str = "run Linux 5.9 or later; in a container, let its seccomp profile allow the call";

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![version(), btf(), bpf_lsm()];
    checks.extend(tiers(observe::trial()));
    checks.extend([openat2_call(), pidfd(), mount_ids(), seccomp(), landlock(), pressure()]);
    checks
}

// Not required: the deleter is held by seccomp, its handles and its limits all the same.
fn landlock() -> Check {
    let remedy = "none needed; with Linux 5.13 or later and lsm=…,landlock the kernel itself would confine the deleter";
    match is_enforced() {
        Ok(()) => Check::ok("landlock", "confines the deleter to the swept roots"),
        Err(why) => Check::limited("landlock", why, remedy),
    }
}

fn version() -> Check {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let new_enough = parse_release(release).is_some_and(|version| version >= OLDEST);
    let result = if new_enough { Ok(release.to_owned()) } else { Err(format!("{release:?}")) };
    Check::of("kernel", result, NEWER_KERNEL).required()
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn btf() -> Check {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    let found = std::fs::metadata(path).map(|file| format!("{} KiB of types", file.len() / 1024));
    let result = found.map_err(|error| format!("{}: {error}", path.display()));
    Check::of("btf", result, "run a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys").required()
}

// Not required: the other tiers count without it.
fn bpf_lsm() -> Check {
    let remedy = "none needed; with lsm=…,bpf on the kernel's command line the cheapest tier would run";
    match read_to_string("/sys/kernel/security/lsm") {
        Ok(list) if list.trim().split(',').any(|module| module == "bpf") => Check::ok("bpf-lsm", "active"),
        Ok(list) => {
            Check::limited("bpf-lsm", format!("not among the active modules ({})", list.trim()), remedy)
        }
        Err(_) => Check::limited("bpf-lsm", "cannot tell: securityfs is not mounted", remedy),
    }
}

fn tiers(trials: Vec<(Tier, Result<Vec<Gap>, String>)>) -> Vec<Check> {
    let counting = trials.iter().find_map(|(tier, result)| Some((*tier, result.clone().ok()?)));
    let mut checks: Vec<_> =
        trials.into_iter().map(|(tier, result)| tier_check(tier, result, counting.is_some())).collect();
    let Some((tier, gaps)) = counting else {
        let remedy =
            "run as root with CAP_BPF and CAP_PERFMON, on a kernel with BTF; the tiers above say what failed";
        checks.push(Check::missing("observe", "no tier counts creates here", remedy).required());
        return checks;
    };
    checks.extend(gaps.iter().map(|gap| gap_check(tier, gap)));
    checks
}

// A tier that does not work is a loss only where no other does.
fn tier_check(tier: Tier, result: Result<Vec<Gap>, String>, another_works: bool) -> Check {
    let name = format!("observe-{tier}");
    let remedy = if another_works { "none needed: another tier counts" } else { "see the check `observe`" };
    match result {
        Ok(_) => Check::ok(&name, "loaded, attached and counted a file"),
        Err(why) => Check {
            state: if another_works { State::Limited } else { State::Missing },
            ..Check::missing(&name, why, remedy)
        },
    }
}

// Of the tier that the agent would take: what another cannot see is of no concern.
fn gap_check(tier: Tier, gap: &Gap) -> Check {
    Check::limited(&format!("gap-{}", gap.id), format!("tier {tier}: {gap}"), gap.id.remedy())
}

fn openat2_call() -> Check {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let result =
        openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
            .map(|_| "paths are resolved without following links".to_owned());
    Check::of("openat2", result.map_err(|errno| errno.to_string()), ALLOW_CALL).required()
}

fn pidfd() -> Check {
    let result = pidfd_open(getpid(), PidfdFlags::empty()).map(|_| "processes are held by handle".to_owned());
    Check::of("pidfd", result.map_err(|errno| errno.to_string()), ALLOW_CALL).required()
}

fn mount_ids() -> Check {
    let told = statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID)
        .is_ok_and(|answer| StatxFlags::from_bits_retain(answer.stx_mask).contains(StatxFlags::MNT_ID));
    let result = if told {
        Ok("mounts are told apart by id".to_owned())
    } else {
        Err("statx tells no mount id".into())
    };
    Check::of("statx-mount-id", result, NEWER_KERNEL).required()
}

fn seccomp() -> Check {
    let actions = read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let result = if actions.split_whitespace().any(|action| action == "kill_process") {
        Ok("the scan worker is killed if it tries to change anything".to_owned())
    } else {
        Err(format!("filters cannot kill a process (actions: {:?})", actions.trim()))
    };
    Check::of("seccomp", result, "run a kernel built with CONFIG_SECCOMP_FILTER=y, and mount /proc")
        .required()
}

fn pressure() -> Check {
    let remedy =
        "boot with psi=1 on a kernel built with CONFIG_PSI=y; without it every sweep that removes is stopped";
    let result = Psi::of_node().map(|psi| {
        format!("some avg10 of the node: cpu {:.1}, io {:.1}, memory {:.1}", psi.cpu, psi.io, psi.memory)
    });
    Check::of("psi", result.map_err(|error| error.to_string()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::GapId;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_release("5.8"), Some((5, 8)));
        assert_eq!(parse_release("4.19.0-27-amd64"), Some((4, 19)));
        assert_eq!(parse_release("six"), None);
    }

    #[test]
    fn a_tier_that_fails_is_no_loss_while_another_counts() {
        assert_eq!(tier_check(Tier::Fexit, Err("EPERM".into()), true).state, State::Limited);
        assert_eq!(tier_check(Tier::Fexit, Err("EPERM".into()), false).state, State::Missing);
        assert_eq!(tier_check(Tier::Fexit, Ok(Vec::new()), true).state, State::Ok);
    }

    #[test]
    fn what_the_tier_in_use_cannot_see_is_listed_with_its_remedy() {
        let gap = |id| Gap { id, reason: "so it is".into() };
        let trials = vec![
            (Tier::Lsm, Err("no bpf".into())),
            (Tier::Fexit, Ok(vec![gap(GapId::Mkdir)])),
            (Tier::SysExit, Ok(vec![gap(GapId::IoUring)])),
        ];
        let mut gaps = tiers(trials);
        gaps.retain(|check| check.name.starts_with("gap-"));
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        let check = &gaps[0];
        assert_eq!(check.name, "gap-mkdir");
        assert_eq!(check.state, State::Limited);
        assert_eq!(check.detail, "tier fexit: new directories are not counted: so it is");
        assert_eq!(check.remedy.as_deref(), Some(GapId::Mkdir.remedy()));
    }

    #[test]
    fn this_kernel_has_the_calls() {
        for check in [version(), openat2_call(), pidfd(), mount_ids(), seccomp()] {
            assert_eq!(check.state, State::Ok, "{check:?}");
        }
    }
}
