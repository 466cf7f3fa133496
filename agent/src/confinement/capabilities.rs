//! Who keeps which capability, and why: one table for the code, for `podsweep doctor --capabilities` and for people.
//!
//! In: a role. Out: a thread that has its capabilities and no others. Must never: add one.

use caps::{CapSet, Capability, CapsHashSet};

use super::ConfinementError;

/// A process of podsweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Role {
    /// `podsweep agent`, until its programs are in the kernel.
    Start,
    /// `podsweep agent` from then on, and `podsweep sweep` where no agent runs.
    Agent,
    /// The scan worker.
    Scanner,
    /// The deleter of a sweep that removes.
    Deleter,
    /// The deleter of a dry run.
    DryRunDeleter,
}

/// One capability that a role keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub capability: Capability,
    /// What for, in one line.
    pub why: &'static str,
}

const fn kept(capability: Capability, why: &'static str) -> Kept {
    Kept { capability, why }
}

/// Besides [`AGENT`]'s.
const START: &[Kept] = &[
    kept(Capability::CAP_PERFMON, "attach the programs that count to kernel functions"),
    kept(Capability::CAP_SYS_RESOURCE, "raise the limit of locked memory, on kernels before 5.11"),
    kept(Capability::CAP_SETPCAP, "take capabilities away for good"),
];

const AGENT: &[Kept] = &[
    kept(Capability::CAP_BPF, "load the programs that count; read their counters, on kernels before 5.19"),
    kept(
        Capability::CAP_SYS_PTRACE,
        "reach a container's root through /proc/PID/root, see who has a file open",
    ),
    kept(Capability::CAP_DAC_READ_SEARCH, "read what belongs to other users"),
    kept(Capability::CAP_LEASE, "tell files that are open from those that are not, fast"),
    // The kernel asks for it where the other process may have a capability more (`cap_safe_nice`).
    kept(Capability::CAP_SYS_NICE, "put the scan worker at the lowest priority"),
];

const SCANNER: &[Kept] = &[kept(Capability::CAP_DAC_READ_SEARCH, "read writable layers of other users")];

const DELETER: &[Kept] = &[
    kept(Capability::CAP_DAC_OVERRIDE, "remove from directories of other users"),
    kept(Capability::CAP_FOWNER, "remove other users' files from sticky directories such as /tmp"),
];

const DRY_RUN_DELETER: &[Kept] =
    &[kept(Capability::CAP_DAC_READ_SEARCH, "look into directories of other users")];

/// Permitted to the agent and not in force, but for the moments of a [`Reserve`].
const RESERVE: &[Kept] = &[kept(
    Capability::CAP_DAC_OVERRIDE,
    "make and remove the scans' slice: nobody may write to the root of a cgroup hierarchy (mode 0555)",
)];

/// Not used by the agent, and left where its children take them from: as root a program that is started has what its
/// starter may have at most (the bounding set; capabilities(7)).
const FOR_CHILDREN: &[Capability] = &[
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_SETPCAP,
];

impl Role {
    /// All, in the order in which they appear in the life of a node.
    pub const ALL: [Self; 5] = [Self::Start, Self::Agent, Self::Scanner, Self::Deleter, Self::DryRunDeleter];

    /// What it keeps.
    pub fn keeps(self) -> impl Iterator<Item = &'static Kept> {
        let (own, more) = match self {
            Self::Start => (START, AGENT),
            Self::Agent => (AGENT, &[][..]),
            Self::Scanner => (SCANNER, &[][..]),
            Self::Deleter => (DELETER, &[][..]),
            Self::DryRunDeleter => (DRY_RUN_DELETER, &[][..]),
        };
        own.iter().chain(more)
    }

    /// What it may take up for a moment.
    pub fn reserve(self) -> &'static [Kept] {
        match self {
            Self::Start | Self::Agent => RESERVE,
            Self::Scanner | Self::Deleter | Self::DryRunDeleter => &[],
        }
    }

    /// What it leaves for the programs that it starts.
    pub fn leaves_to_children(self) -> &'static [Capability] {
        match self {
            Self::Start | Self::Agent => FOR_CHILDREN,
            Self::Scanner | Self::Deleter | Self::DryRunDeleter => &[],
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "agent, at its start",
            Self::Agent => "agent",
            Self::Scanner => "scan worker",
            Self::Deleter => "deleter",
            Self::DryRunDeleter => "deleter of a dry run",
        }
    }
}

fn names(capabilities: &CapsHashSet) -> String {
    let mut names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.join(" ")
}

impl Role {
    /// Takes everything from the calling thread that this role does not keep, and reads back whether it is gone. What
    /// the thread never had is not missed here. Threads that it starts afterwards have what it has: call it before
    /// there are others.
    pub(crate) fn take_on(self) -> Result<(), ConfinementError> {
        let held = caps::read(None, CapSet::Permitted)?;
        let keep: CapsHashSet =
            self.keeps().map(|kept| kept.capability).filter(|one| held.contains(one)).collect();
        let bounding = caps::read(None, CapSet::Bounding)?;
        let children: CapsHashSet =
            self.leaves_to_children().iter().copied().filter(|one| bounding.contains(one)).collect();
        // Without SETPCAP the bounding set cannot be changed; it matters to exec only.
        if held.contains(&Capability::CAP_SETPCAP) {
            drop_from_bounding(&children)?;
        }
        // A root's children take from the bounding set; another user's have nothing but ambient ones, which must be
        // permitted and inheritable here.
        let ambient: CapsHashSet = if nix::unistd::geteuid().is_root() {
            CapsHashSet::new()
        } else {
            children.intersection(&held).copied().collect()
        };
        let reserve = self.reserve().iter().map(|kept| kept.capability).filter(|one| held.contains(one));
        let permitted: CapsHashSet = keep.union(&ambient).copied().chain(reserve).collect();
        caps::clear(None, CapSet::Ambient)?;
        caps::set(None, CapSet::Effective, &keep)?;
        caps::set(None, CapSet::Permitted, &permitted)?;
        caps::set(None, CapSet::Inheritable, &ambient)?;
        caps::set(None, CapSet::Ambient, &ambient)?;
        match caps::read(None, CapSet::Permitted)? {
            left if left == permitted => Ok(()),
            left => Err(ConfinementError::StillCapable(names(&left))),
        }
    }
}

/// The agent's reserve, in force on this thread until it is dropped. Not for longer than a system call or two.
#[derive(Debug)]
#[must_use = "in force only while it lives"]
pub(crate) struct Reserve {
    before: Option<CapsHashSet>,
}

impl Reserve {
    /// Takes it up, where there is one: who has given it up, or never had it, gets the kernel's refusal of what it
    /// wanted to do.
    pub(crate) fn take_up() -> Self {
        Self { before: raise().ok() }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let Some(before) = self.before.take()
            && let Err(error) = caps::set(None, CapSet::Effective, &before)
        {
            tracing::error!(%error, "a capability is still in force that is only for a moment");
        }
    }
}

fn raise() -> Result<CapsHashSet, caps::errors::CapsError> {
    let before = caps::read(None, CapSet::Effective)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let reserve = RESERVE.iter().map(|kept| kept.capability).filter(|one| permitted.contains(one));
    caps::set(None, CapSet::Effective, &before.iter().copied().chain(reserve).collect())?;
    Ok(before)
}

fn drop_from_bounding(keep: &CapsHashSet) -> Result<(), ConfinementError> {
    for capability in caps::read(None, CapSet::Bounding)?.difference(keep) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deleter_keeps_two_at_most_and_whoever_looks_only_keeps_reading() {
        let of = |role: Role| role.keeps().map(|kept| kept.capability).collect::<Vec<_>>();
        assert_eq!(of(Role::Deleter), [Capability::CAP_DAC_OVERRIDE, Capability::CAP_FOWNER]);
        for role in [Role::Scanner, Role::DryRunDeleter] {
            assert_eq!(of(role), [Capability::CAP_DAC_READ_SEARCH], "{role:?}");
        }
    }

    #[test]
    fn children_get_what_they_keep() {
        for role in [Role::Scanner, Role::Deleter, Role::DryRunDeleter] {
            let all = role.keeps().all(|kept| FOR_CHILDREN.contains(&kept.capability));
            assert!(all, "{role:?}");
        }
    }

    #[test]
    fn the_reserve_is_in_force_for_a_moment() {
        let seen = std::thread::spawn(|| {
            Role::Agent.take_on().unwrap();
            let in_force = || caps::has_cap(None, CapSet::Effective, Capability::CAP_DAC_OVERRIDE).unwrap();
            let before = in_force();
            let reserve = Reserve::take_up();
            let during = in_force();
            drop(reserve);
            [before, during, in_force()]
        });
        let root = nix::unistd::geteuid().is_root();
        assert_eq!(seen.join().unwrap(), [false, root, false]);
    }

    #[test]
    fn a_thread_that_takes_on_a_role_has_nothing_else() {
        // Capabilities are a thread's own: the other tests keep theirs.
        let left = std::thread::spawn(|| {
            Role::DryRunDeleter.take_on().unwrap();
            [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient]
                .map(|set| names(&caps::read(None, set).unwrap()))
        });
        let reading = if nix::unistd::geteuid().is_root() { "CAP_DAC_READ_SEARCH" } else { "" };
        assert_eq!(left.join().unwrap(), [reading, reading, "", ""]);
    }
}
