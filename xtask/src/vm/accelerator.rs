//! KVM or TCG, chosen by trying: a machine may have /dev/kvm and yet fail to run a kernel in it, because it is itself
//! a guest, or lacks what QEMU asks of it. In: a trial boot. Out: the choice, kept in the cache for this host kernel.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::command::step;

/// How QEMU runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// By the processor.
    Kvm,
    /// By translation: 4 to 20 times slower, and needs nothing of the machine.
    Tcg,
    /// The same, and the guest's clocks count instructions, one a nanosecond: what its programs cost is the same on
    /// a busy host as on an idle one. One processor at a time.
    Counting,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
            Self::Counting => "TCG, counting instructions",
        })
    }
}

impl Accelerator {
    /// What an earlier trial found, else what `trial` finds: whether a guest comes up in KVM.
    pub(crate) fn choose(memory: &Path, trial: impl FnOnce() -> Result<bool>) -> Result<Self> {
        if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Tcg);
        }
        let host = fs::read_to_string("/proc/version").context("cannot read /proc/version")?;
        if let Some(known) = recall(&fs::read_to_string(memory).unwrap_or_default(), &host) {
            return Ok(known);
        }
        step("try KVM (once)");
        let chosen = if trial()? { Self::Kvm } else { Self::Tcg };
        fs::write(memory, format!("{chosen} {host}"))
            .with_context(|| format!("cannot write {}", memory.display()))?;
        Ok(chosen)
    }
}

/// What was written for this very host kernel.
fn recall(written: &str, host: &str) -> Option<Accelerator> {
    let (chosen, for_host) = written.split_once(' ')?;
    let known = [Accelerator::Kvm, Accelerator::Tcg].into_iter().find(|one| one.to_string() == chosen);
    known.filter(|_| for_host == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_holds_for_the_host_kernel_it_was_made_on() {
        assert_eq!(recall("KVM Linux 6.18\n", "Linux 6.18\n"), Some(Accelerator::Kvm));
        assert_eq!(recall("TCG Linux 6.18\n", "Linux 6.18\n"), Some(Accelerator::Tcg));
        assert_eq!(recall("KVM Linux 6.18\n", "Linux 6.19\n"), None);
        assert_eq!(recall("", "Linux 6.18\n"), None);
    }
}
