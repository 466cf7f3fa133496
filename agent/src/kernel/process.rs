//! `/proc/PID/stat`: who a process is, beyond its pid.

use std::path::Path;

use super::{KernelError, read};
use crate::inventory::Process;

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
    fn own_start_time_is_stable() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
    }
}
