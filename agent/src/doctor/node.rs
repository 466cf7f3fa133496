//! The node: configuration, policies, the state directory, the time zone, the runtimes.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Check, State};
use crate::config::Config;
use crate::document::FileError;
use crate::policy;
use crate::report::check_state_folder;
use crate::sweep;

/// Where runtimes leave traces: a control socket, or the directory of running containers.
const RUNTIMES: &[(&str, &str)] = &[
    ("containerd", "/run/containerd/containerd.sock"),
    ("docker", "/run/docker.sock"),
    ("cri-o", "/run/crio/crio.sock"),
    ("podman", "/run/libpod"),
    ("runc", "/run/runc"),
    ("crun", "/run/crun"),
];

pub(super) fn checks(config: Result<&Config, &FileError>) -> Vec<Check> {
    let mut checks = match config {
        Ok(config) => configured(config),
        Err(error) => {
            let remedy = "mend the file; `podsweep check --config FILE` names every fault";
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            vec![Check::missing("config", first, remedy).required()]
        }
    };
    checks.extend([time_zone(), runtimes()]);
    checks
}

fn configured(config: &Config) -> Vec<Check> {
    let state = existing(&config.state);
    vec![
        Check::ok("config", "valid"),
        policies(&config.policies),
        state_folder(&config.state, &state),
        leases(&state),
    ]
}

// The agent starts without policies and takes them in when they are right.
fn policies(folder: &Path) -> Check {
    let remedy = "put SweepPolicy files there; `podsweep check FOLDER` tells when they are right";
    match policy::load_folder(folder) {
        Ok(set) if set.is_empty() => Check::limited(
            "policies",
            format!("{}: none, so nothing is ever swept", folder.display()),
            remedy,
        ),
        Ok(set) => Check::ok("policies", format!("{} in {}", set.len(), folder.display())),
        Err(problems) => {
            let first = problems.first().map_or_else(String::new, ToString::to_string);
            let more = match problems.len() {
                0 | 1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            Check::limited("policies", format!("{first}{more}"), remedy)
        }
    }
}

/// As the agent itself will see it at its start: the folder, or the nearest parent that is there.
fn state_folder(wanted: &Path, directory: &Path) -> Check {
    match check_state_folder(directory) {
        Err(error) if wanted == directory => {
            let remedy = "do as it says, or name another folder as `state` in the configuration";
            Check::missing("state", error.to_string(), remedy).required()
        }
        _ => writable(wanted, directory),
    }
}

fn writable(wanted: &Path, directory: &Path) -> Check {
    let result = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK);
    let detail = match (&result, wanted == directory) {
        (Ok(()), true) => format!("{} is writable", wanted.display()),
        (Ok(()), false) => format!("{} will be made below {}", wanted.display(), directory.display()),
        (Err(errno), _) => format!("{}: {errno}", directory.display()),
    };
    let remedy = "let the agent's user write there, or name another folder as `state` in the configuration";
    Check::of("state", result.map(|()| detail.clone()).map_err(|_| detail), remedy).required()
}

fn leases(directory: &Path) -> Check {
    let remedy = "none needed: open files are found by a walk over /proc/*/fd instead, which costs more";
    let place = directory.display();
    match sweep::try_lease(directory) {
        Ok(()) => Check::ok("leases", format!("granted on the filesystem of {place}")),
        Err(error) => Check::limited("leases", format!("{place}: {error}"), remedy),
    }
}

fn time_zone() -> Check {
    let remedy = "set TZ, or mount the host's /etc/localtime and /usr/share/zoneinfo; schedules and allowedHours use UTC until then";
    match jiff::tz::TimeZone::try_system() {
        Ok(zone) => Check::ok("time-zone", zone.iana_name().unwrap_or("of /etc/localtime")),
        Err(error) => Check::limited("time-zone", error.to_string(), remedy),
    }
}

fn runtimes() -> Check {
    let found: Vec<_> =
        RUNTIMES.iter().filter(|(_, trace)| Path::new(trace).exists()).map(|(name, _)| *name).collect();
    if found.is_empty() {
        let remedy =
            "in a container, mount the host's /run; without a runtime, systemd units are still watched";
        return Check {
            state: State::Limited,
            ..Check::missing("runtimes", "none found below /run", remedy)
        };
    }
    Check::ok("runtimes", found.join(", "))
}

/// The directory itself, or the nearest parent that is there.
fn existing(directory: &Path) -> PathBuf {
    directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_may_be_made_later() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("a/b");
        assert_eq!(existing(&wanted), folder.path());
        let check = state_folder(&wanted, &existing(&wanted));
        assert_eq!(check.state, State::Ok);
        assert!(check.detail.contains("will be made"), "{}", check.detail);
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_to_forbids_running() {
        let gone = Path::new("/nonexistent/state");
        let check = state_folder(gone, gone);
        assert!(check.forbids_running(), "{check:?}");
    }

    #[test]
    fn a_state_directory_that_the_agent_would_refuse_forbids_running() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let check = state_folder(folder.path(), folder.path());
        assert!(check.forbids_running() && check.detail.contains("chmod go-w"), "{check:?}");
    }
}
