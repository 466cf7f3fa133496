//! What each process of podsweep keeps, why, and what else holds it: `podsweep doctor --capabilities`.
//!
//! In: the table of `confinement`. Out: [`Process`]es for people and scripts. Must never: say of this host what was
//! not asked of it.

use std::fmt::Write;

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
    let landlock = landlocked(role).map(|below| {
        let here =
            is_enforced().map_or_else(|why| format!("NOT HERE: {why}"), |()| "in force here".to_owned());
        format!("Landlock: removes {below} ({here})")
    });
    means(role).iter().map(|&sentence| sentence.to_owned()).chain(landlock).collect()
}

fn means(role: Role) -> &'static [&'static str] {
    match role {
        Role::Start => &["one thread, which has read nothing of any container yet"],
        Role::Agent => &["what changes a container is the deleter; the agent opens its roots and reads"],
        Role::Scanner => &[
            "seccomp: killed by any call that could change a file, start a program or reach a network",
            "no_new_privs; limits on CPU, reads, memory and processes; ends with the agent",
        ],
        Role::Deleter => &[
            "seccomp: unlinkat, openat2 and statx relative to handles, ftruncate to nothing where a rule truncates; \
             killed by anything else",
            "the agent's handles for one batch, and no other; enters no namespace; no byte can be written \
             (RLIMIT_FSIZE 0)",
            "no_new_privs; one for each sweep; ends with it, or with the agent",
        ],
        Role::DryRunDeleter => &["as the deleter, and killed by unlinkat and ftruncate, too"],
    }
}

/// Where Landlock lets it remove.
fn landlocked(role: Role) -> Option<&'static str> {
    match role {
        Role::Start | Role::Agent | Role::Scanner => None,
        Role::Deleter => Some("below the swept roots alone"),
        Role::DryRunDeleter => Some("nowhere"),
    }
}

const HEAD: &str = "\
# Privileges

Made from the program itself. To write it anew: `cargo xtask gen`. `podsweep doctor --capabilities` prints the same for
the node it runs on, with what is to be had there.

The agent is started as root, or with the capabilities of its start. A process gives up for good what is not named
here, before it reads the first byte that a container's owner laid out; `node_rights` reads that back from
`/proc/PID/status` while a real container is swept.
";

/// docs/privileges.md.
pub fn reference() -> String {
    Role::ALL.into_iter().fold(HEAD.to_owned(), |text, role| text + &section(role))
}

fn section(role: Role) -> String {
    let mut text = format!("\n## {}\n\n| capability | why |\n|---|---|\n", role.name());
    for kept in role.keeps() {
        let _ = writeln!(text, "| `{}` | {} |", kept.capability, kept.why);
    }
    for kept in role.reserve() {
        let _ = writeln!(
            text,
            "| `{}`, in reserve: permitted, in force for a call or two | {} |",
            kept.capability, kept.why
        );
    }
    if !role.leaves_to_children().is_empty() {
        let names: Vec<_> = role.leaves_to_children().iter().map(|name| format!("`{name}`")).collect();
        let _ = write!(text, "\nIn the bounding set for its children alone: {}.\n", names.join(", "));
    }
    text.push('\n');
    let landlock =
        landlocked(role).map(|below| format!("Landlock, where the kernel has it: removes {below}"));
    for means in means(role).iter().map(|&means| means.to_owned()).chain(landlock) {
        let _ = writeln!(text, "- {means}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_docs_is_the_programs_own() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/privileges.md");
        if std::env::var_os("PODSWEEP_BLESS").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference(), "run: cargo xtask gen");
    }

    /// Under `add:` in deploy/base/agent.yaml: each capability once, above it what it is for.
    fn added() -> String {
        let mut added: Vec<(String, Vec<&str>)> = Vec::new();
        for kept in Role::ALL.iter().flat_map(|role| role.keeps().chain(role.reserve())) {
            let name = kept.capability.to_string();
            match added.iter_mut().find(|(known, _)| *known == name) {
                Some((_, whys)) if whys.contains(&kept.why) => {}
                Some((_, whys)) => whys.push(kept.why),
                None => added.push((name, vec![kept.why])),
            }
        }
        let lines = added.iter().flat_map(|(name, whys)| {
            let comments = whys.iter().map(|why| format!("            # {why}\n"));
            comments.chain([format!("            - {}\n", name.trim_start_matches("CAP_"))])
        });
        lines.collect()
    }

    #[test]
    fn the_daemon_set_adds_what_is_kept_and_says_why() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base/agent.yaml");
        let manifest = std::fs::read_to_string(path).unwrap();
        let (_, rest) = manifest.split_once("            add:\n").unwrap();
        let end = rest.find("        volumeMounts:").unwrap();
        assert_eq!(&rest[..end], added());
        let left = Role::ALL.iter().flat_map(|role| role.leaves_to_children());
        for capability in left.map(ToString::to_string) {
            assert!(
                added().contains(&format!("- {}\n", capability.trim_start_matches("CAP_"))),
                "{capability}"
            );
        }
    }

    #[test]
    fn every_process_says_what_it_keeps_and_what_holds_it() {
        for process in processes() {
            assert!(!process.keeps.is_empty() && !process.held_by.is_empty(), "{process:?}");
        }
    }
}
