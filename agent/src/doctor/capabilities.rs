//! What each process of podsweep keeps, why, and what else holds it: `podsweep doctor --capabilities`.
//!
//! In: the table of `confinement`. Out: [`Process`]es for people and scripts. Must never: say of this host what was
//! not asked of it.

use serde::Serialize;

use super::privileges::effective;
use crate::confinement::{Kept, Role, is_enforced};

/// One of podsweep's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Which.
    pub process: &'static str,
    /// What it keeps; everything else is given up for good.
    pub keeps: Vec<Keeps>,
    /// What it may take up for a moment, and has not in force else.
    pub in_reserve: Vec<Keeps>,
    /// What it leaves for the programs that it starts, and does not use itself.
    pub leaves_to_children: Vec<String>,
    /// What else holds it, each a sentence.
    pub held_by: Vec<String>,
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keeps {
    /// Its name.
    pub capability: String,
    /// What for.
    pub why: &'static str,
    /// Whether it could be had here: whether this command has it.
    pub here: bool,
}

/// All processes, in the order in which they appear in the life of a node.
pub fn processes() -> Vec<Process> {
    Role::ALL.into_iter().map(process).collect()
}

fn process(role: Role) -> Process {
    let one = |kept: &Kept| Keeps {
        capability: kept.capability.to_string(),
        why: kept.why,
        here: effective(kept.capability),
    };
    Process {
        process: role.name(),
        keeps: role.keeps().map(one).collect(),
        in_reserve: role.reserve().iter().map(one).collect(),
        leaves_to_children: role.leaves_to_children().iter().map(ToString::to_string).collect(),
        held_by: held_by(role),
    }
}

fn held_by(role: Role) -> Vec<String> {
    let means: &[&str] = match role {
        Role::Start => &["one thread; it has read nothing of any container yet"],
        Role::Agent => &["what changes a container is the deleter; the agent opens its roots and reads"],
        Role::Scanner => &[
            "seccomp: killed by any call that could change a file, start a program or reach a network",
            "no_new_privs; limits on CPU, reads, memory and processes; ends with the agent",
        ],
        Role::Deleter => &[
            "seccomp: unlinkat, openat2 and statx relative to handles, ftruncate to nothing where a rule truncates; killed \
             by anything else",
            "the agent's handles for one batch, and no other; enters no namespace; no byte can be written (RLIMIT_FSIZE 0)",
        ],
        Role::DryRunDeleter => &["as the deleter, and killed by unlinkat and ftruncate, too"],
    };
    let landlock = matches!(role, Role::Deleter | Role::DryRunDeleter).then(|| {
        let here =
            is_enforced().map_or_else(|why| format!("NOT HERE: {why}"), |()| "in force here".to_owned());
        let below = if role == Role::Deleter { "below the swept roots alone" } else { "nowhere" };
        format!("Landlock: removes {below} ({here})")
    });
    means.iter().map(|&sentence| sentence.to_owned()).chain(landlock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_says_what_it_keeps_and_what_holds_it() {
        for process in processes() {
            assert!(!process.keeps.is_empty() && !process.held_by.is_empty(), "{process:?}");
        }
    }
}
