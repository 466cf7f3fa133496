//! Pressure stall information: `cpu.pressure`, `io.pressure`, `memory.pressure` of a cgroup, `/proc/pressure/*` of
//! the node (kernel doc accounting/psi.rst).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{KernelError, read};

/// "some avg10" of the three resources: percent of the last ten seconds in which a task waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Psi {
    /// cpu
    pub cpu: f64,
    /// io
    pub io: f64,
    /// memory
    pub memory: f64,
}

impl Psi {
    /// Of one cgroup2 directory.
    pub fn of_cgroup(directory: &Path) -> Result<Self, KernelError> {
        Self::from(|resource| directory.join(format!("{resource}.pressure")))
    }

    /// Of the node.
    pub fn of_node() -> Result<Self, KernelError> {
        Self::from(|resource| Path::new("/proc/pressure").join(resource))
    }

    fn from(file: impl Fn(&str) -> std::path::PathBuf) -> Result<Self, KernelError> {
        let avg10 = |resource: &str| {
            let path = file(resource);
            let text = read(&path)?;
            some_avg10(&text).ok_or(KernelError::Parse { path, what: text })
        };
        Ok(Self { cpu: avg10("cpu")?, io: avg10("io")?, memory: avg10("memory")? })
    }
}

fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_some_line_only() {
        let text = "some avg10=1.25 avg60=0.10 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(text), Some(1.25));
        assert_eq!(some_avg10("full avg10=9.00"), None);
    }
}
