//! `/proc/PID/stat`: who a process is, beyond its pid.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{KernelError, read};
use crate::inventory::Process;

/// Bytes of `/proc/PID/stat` that hold its first 22 fields: a name of 64 bytes, and 21 numbers of at most 20 digits.
const STAT_BYTES: usize = 1024;

/// Field 22 of `/proc/PID/stat` (proc(5)): clock ticks after boot at which the process started.
pub fn start_time(pid: i32) -> Result<u64, KernelError> {
    let path = Path::new("/proc").join(pid.to_string()).join("stat");
    let text = read(&path)?;
    parse_start_time(&text).ok_or(KernelError::Parse { path, what: text })
}

/// The process that has this pid now.
pub fn process(pid: i32) -> Result<Process, KernelError> {
    Ok(Process { pid, start_time: start_time(pid)? })
}

/// The same, if it runs: a zombie does not, nor one that is gone. One open and one read, because the agent asks
/// 256 times a second (docs/benchmarks.md has what a parse of the whole file cost).
pub fn running(pid: i32) -> Option<Process> {
    let mut stat = [0; STAT_BYTES];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let start_time = parse_running(stat.get(..length)?)?;
    Some(Process { pid, start_time })
}

// A name may be any bytes; what follows it is ASCII. The last field may be cut.
fn parse_running(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(name_end + 1..)?.split(|byte| *byte == b' ').skip(1);
    let runs = !matches!(fields.next()?, b"Z" | b"X");
    let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    runs.then_some(start_time)
}

// The command name (field 2) is in parentheses and may hold spaces and parentheses of its own.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_shift_the_fields() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(parse_start_time(stat), Some(4711));
    }

    #[test]
    fn what_has_ended_does_not_run() {
        let stat = |state: &str| {
            let mut stat = b"7 (a\xff) Z 1) ".to_vec();
            stat.extend(state.bytes().chain(" 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1".bytes()));
            stat
        };
        assert_eq!(
            ["S", "R", "Z", "X"].map(|state| parse_running(&stat(state))),
            [Some(4711), Some(4711), None, None]
        );
        assert_eq!(parse_running(b"7 (a) S 1"), None);
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(running(pid), process(pid).ok());
    }

    #[test]
    fn own_start_time_is_stable() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
    }
}
