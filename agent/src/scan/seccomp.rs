//! The worker's seccomp filter: a list of what the walk needs; anything else kills the process.
//!
//! `openat2` is not on it: its flags are behind a pointer, where a filter cannot see them. `openat` may open for
//! reading only, `write` goes to stdout and stderr only.

use nix::libc;
use seccompiler::BackendError;

use crate::confinement::filter::{Filter, Must};

/// Allowed whatever the arguments: none of these can change a file, start a process or reach a network.
const PLAIN: &[i64] = &[
    // The walk.
    libc::SYS_getdents64,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_read,
    // Watching stdin for the agent's end.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// Any of these in `openat`'s flags could change something. `O_TMPFILE` needs one of the first two.
const CHANGING: i32 = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

/// What a walk may do.
pub(super) fn filter() -> Result<Filter, BackendError> {
    let mut filter = Filter::new()?;
    filter.allow(PLAIN);
    filter.allow_if(libc::SYS_openat, &[Must::Lack(2, CHANGING)])?;
    filter.allow_if(libc::SYS_write, &[Must::Be(0, libc::STDOUT_FILENO)])?;
    Ok(filter)
}

#[cfg(test)]
mod tests {
    //! The filter kills the process that breaks it, so each attempt is made in a process of its own: this test
    //! binary, told by its environment to run one test, and in that test to make the attempt.

    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Command, ExitStatus};

    use rustix::fs::{AtFlags, CWD, Mode, OFlags};

    use super::*;

    const FILE: &str = "PODSWEEP_TEST_SECCOMP_FILE";
    const ATTEMPT: &str = "PODSWEEP_TEST_SECCOMP_ATTEMPT";

    fn attempt_in_child(attempt: &str, file: &Path) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "scan::seccomp::tests::attempt", "--ignored", "--nocapture"])
            .env(FILE, file)
            .env(ATTEMPT, attempt)
            .status()
            .unwrap()
    }

    #[test]
    #[ignore = "only run by the tests below, in a process of its own"]
    fn attempt() {
        let Some(file) = std::env::var_os(FILE) else { return };
        let attempt = std::env::var(ATTEMPT).unwrap();
        let renamed = Path::new(&file).with_extension("renamed");
        let open = |flags| rustix::fs::openat(CWD, &file, flags, Mode::RUSR).map(drop);
        filter().unwrap().install().unwrap();
        let _ = match attempt.as_str() {
            "unlink" => rustix::fs::unlink(&file),
            "unlinkat" => rustix::fs::unlinkat(CWD, &file, AtFlags::empty()),
            "rename" => rustix::fs::rename(&file, &renamed),
            "mkdir" => rustix::fs::mkdir(&renamed, Mode::RWXU),
            "link" => rustix::fs::link(&file, &renamed),
            "symlink" => rustix::fs::symlink(&file, &renamed),
            "chmod" => rustix::fs::chmod(&file, Mode::empty()),
            "write" => open(OFlags::WRONLY),
            "read_write" => open(OFlags::RDWR),
            "truncate" => open(OFlags::TRUNC),
            "create" => open(OFlags::CREATE),
            "openat2" => {
                let resolve = rustix::fs::ResolveFlags::empty();
                rustix::fs::openat2(CWD, &file, OFlags::RDONLY, Mode::empty(), resolve).map(drop)
            }
            "exec" => Err(rustix::io::Errno::from_io_error(&exec()).unwrap_or(rustix::io::Errno::PERM)),
            "read" => open(OFlags::RDONLY),
            other => panic!("no such attempt: {other}"),
        };
        // Not back through the test harness, which would need more than the filter allows.
        std::process::exit(0);
    }

    fn exec() -> std::io::Error {
        use std::os::unix::process::CommandExt;
        Command::new("/bin/true").exec()
    }

    #[test]
    fn every_attempt_to_change_kills_the_process_and_the_file_stays() {
        let attempts = [
            "unlink",
            "unlinkat",
            "rename",
            "mkdir",
            "link",
            "symlink",
            "chmod",
            "write",
            "read_write",
            "truncate",
            "create",
            "openat2",
            "exec",
        ];
        for attempt in attempts {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("file");
            std::fs::write(&file, "content").unwrap();
            let status = attempt_in_child(attempt, &file);
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{attempt}: {status:?}");
            assert_eq!(std::fs::read(&file).unwrap(), b"content", "{attempt}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{attempt}");
        }
    }

    #[test]
    fn reading_is_allowed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(attempt_in_child("read", file.path()).success());
    }
}
