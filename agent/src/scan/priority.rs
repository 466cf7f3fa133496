//! Nice 19 and the idle I/O class for the worker, set by the agent while the worker still waits for its request, so
//! that they can be read back before any work is done.
//!
//! In: the worker's pid. Out: what is in force and what is not. Must never: touch another process.

use std::collections::BTreeMap;

use rustix::process::{Pid, getpriority_process, setpriority_process};

use super::ioprio;

/// The least favourable (setpriority(2)).
const NICE: i32 = 19;

/// Sets both; adds to `limits` what is in force and to `missing` what is not.
pub(super) fn lower(pid: i32, limits: &mut BTreeMap<String, String>, missing: &mut Vec<String>) {
    match nice(pid) {
        Ok(()) => _ = limits.insert("nice".into(), NICE.to_string()),
        Err(problem) => missing.push(format!("nice: {problem}")),
    }
    match ioprio::set_idle(pid) {
        Ok(true) => _ = limits.insert("ioprio".into(), "idle".into()),
        Ok(false) => missing.push("ioprio: set to idle, reads back another class".into()),
        Err(errno) => missing.push(format!("ioprio: {}", errno.desc())),
    }
}

fn nice(pid: i32) -> Result<(), String> {
    let process = Pid::from_raw(pid);
    setpriority_process(process, NICE).map_err(|errno| errno.to_string())?;
    match getpriority_process(process) {
        Ok(NICE) => Ok(()),
        Ok(other) => Err(format!("set to {NICE}, reads back {other}")),
        Err(errno) => Err(errno.to_string()),
    }
}
