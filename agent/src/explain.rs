//! Why one file of a container would, or would not, be removed: everybody who may say no is asked, in the order in
//! which a sweep asks, up to the first no.
//!
//! In: a container, a path as it sees it, what the levels say of a sweep as a whole ([`Standing`]). Out: the chain of
//! answers, one of them deciding. Must never: follow a symlink in the container, change anything, or come to another
//! word than a sweep would.
//!
//! ```text
//! place (storage, what is there) -> standing, levels 0 to 4 -> rules (levels 1 and 4, of the path)
//!     -> newest, removal (level 0, of the file) -> standing, levels 5 to 7
//! ```
//!
//! Of a single file the rules are asked before the built-in checks that cost a system call, as a scan does: a file with
//! several reasons to stay is counted, and explained, by the first.

mod newest;
mod place;
mod removal;
mod rules;

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use self::place::{Found, Place, Storage};
use self::removal::Verdict;
use self::rules::{Asked, Named, word};
use crate::gate::Standing;
use crate::inventory::{Container, VolumeKind};
use crate::kernel::Cgroups;
use crate::policy::chain::{Chain, No, Step};
use crate::policy::{Judgement, Junk, Mode, SweepPolicy};
use crate::scan::{Candidate, Identity, Kept, ScanRoot, facts};
use crate::sweep::{Audit, plan_roots};

/// A file that cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// With a `..` in its path.
    #[error("{0:?}: write the path without `..`; rules are compared with paths that go straight down")]
    NotStraight(PathBuf),
    /// A call of the kernel failed.
    #[error("cannot {operation} {path:?}: {errno}")]
    Look {
        /// What was tried.
        operation: &'static str,
        /// As the container sees it.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

/// What an explanation is made with.
pub struct Means<'a> {
    /// The container.
    pub container: &'a Arc<Container>,
    /// What the levels say of a sweep of it as a whole.
    pub standing: Standing,
    /// Where the cgroup hierarchies are.
    pub cgroups: &'a Cgroups,
    /// A journal that refuses to be written to.
    pub audit: Arc<dyn Audit>,
    /// The wall clock, seconds and nanoseconds since 1970.
    pub now: (i64, u32),
}

/// The chain of answers about one file, absolute, as the container sees it.
pub async fn explain_file(means: Means<'_>, path: &Path) -> Result<Vec<Step>, ExplainError> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(ExplainError::NotStraight(path.to_path_buf()));
    }
    let path: PathBuf = path.components().collect();
    let mut chain = Chain::default();
    match ask(&means, &path, &mut chain).await {
        // A no has put its deciding step on the chain.
        Ok(()) | Err(Halt::No(No)) => Ok(chain.into_steps()),
        Err(Halt::Look(operation, errno)) => Err(ExplainError::Look { operation, path, errno }),
    }
}

/// Why nobody else is asked.
enum Halt {
    No(No),
    Look(&'static str, Errno),
}

impl From<No> for Halt {
    fn from(no: No) -> Self {
        Self::No(no)
    }
}

fn cannot(operation: &'static str) -> impl Fn(Errno) -> Halt {
    move |errno| Halt::Look(operation, errno)
}

/// A file that a rule may reach.
struct File<'a> {
    place: Place,
    stat: Stat,
    path: &'a Path,
}

async fn ask(means: &Means<'_>, path: &Path, chain: &mut Chain) -> Result<(), Halt> {
    let place = storage(means.container, path, chain)?;
    chain.append(means.standing.before_files.clone())?;
    let Some(policy) = &means.standing.policy else { return Ok(()) };
    let stat = entry(means.container, &place, path, chain)?;
    let file = File { place, stat, path };
    let named = named(means, policy, &file, chain)?;
    image_layer(means.container, &file, chain)?;
    newest(means, policy, &file, &named, chain)?;
    removal(means, policy, &file, &named, chain).await?;
    chain.append(means.standing.after_files.clone())?;
    conclude(policy, &named, chain);
    Ok(())
}

fn storage(container: &Container, path: &Path, chain: &mut Chain) -> Result<Place, No> {
    const QUESTION: &str = "which storage holds it?";
    match place::storage_of(container, path) {
        Storage::Of(place) => {
            chain.goes_on(0, QUESTION, format!("{:?} at {}", place.kind, place.mount_point.display()));
            Ok(place)
        }
        Storage::Other(at) => {
            let answer = format!("another mount, at {}: stays, never entered", at.display());
            Err(chain.decides(0, QUESTION, word(Kept::MountInside), answer))
        }
        Storage::Unknown => {
            let answer = "the container's root, which is no overlay: stays, only its volumes are swept";
            Err(chain.decides(0, QUESTION, "NothingToSweep", answer))
        }
    }
}

/// What is there, if it is something that a rule could name.
fn entry(container: &Container, place: &Place, path: &Path, chain: &mut Chain) -> Result<Stat, Halt> {
    const QUESTION: &str = "is it a file of that storage?";
    match place.look().map_err(cannot("look at"))? {
        Found::Entry(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            let answer =
                "a directory: goes only where a rule has `emptyDirectories`, when a sweep has emptied it";
            Err(chain.decides(0, QUESTION, "Directory", answer).into())
        }
        Found::Entry(stat) => {
            let kind = format!("{:?}", FileType::from_raw_mode(stat.st_mode));
            chain.goes_on(0, QUESTION, format!("yes: {kind}, {} bytes, uid {}", stat.st_size, stat.st_uid));
            Ok(stat)
        }
        Found::Whiteout => Err(chain
            .decides(0, QUESTION, "NotThere", "no, the container removed it: its image has it")
            .into()),
        Found::Nothing => Err(nothing(container, place, path, chain)),
    }
}

/// Nothing of that name: why not, as far as can be told.
fn nothing(container: &Container, place: &Place, path: &Path, chain: &mut Chain) -> Halt {
    const QUESTION: &str = "is it a file of that storage?";
    if let Some((at, to)) = place::symlink_on_the_way(container, path) {
        let answer = format!(
            "no, {} is a symlink to {}: rules reach nothing through one; ask about the path it points to",
            at.display(),
            to.display()
        );
        return chain.decides(0, QUESTION, "BehindSymlink", answer).into();
    }
    if place.kind == VolumeKind::WritableLayer
        && let Ok(Some(layer)) = place::image_layer(container, &place.below)
    {
        let answer = format!("no, it is the image's alone, in {}: stays", layer.display());
        return chain.decides(0, QUESTION, "OfTheImage", answer).into();
    }
    chain.decides(0, QUESTION, "NotThere", "no, there is nothing of that name").into()
}

fn named(means: &Means<'_>, policy: &SweepPolicy, file: &File<'_>, chain: &mut Chain) -> Result<Named, No> {
    let facts = facts(&Identity::from(&file.stat));
    let asked = Asked {
        policy,
        node_never: &means.standing.never,
        kind: file.place.kind,
        path: file.path.as_os_str().as_bytes(),
        facts: &facts,
        now: means.now,
    };
    let named = rules::ask(&asked, chain)?;
    chain.goes_on(0, "has it other names?", "no, one link");
    chain.goes_on(0, "is it younger than 10 s?", format!("no, {}", rules::changed(&asked)));
    Ok(named)
}

fn image_layer(container: &Container, file: &File<'_>, chain: &mut Chain) -> Result<(), Halt> {
    const QUESTION: &str = "does the image have it, too?";
    if file.place.kind != VolumeKind::WritableLayer {
        return Ok(());
    }
    match place::image_layer(container, &file.place.below).map_err(cannot("look in the image for"))? {
        None => {
            chain.goes_on(0, QUESTION, "no");
            Ok(())
        }
        Some(layer) => {
            let answer = format!(
                "yes, also in {}: stays; removing it would free nothing and leave a whiteout",
                layer.display()
            );
            Err(chain.decides(0, QUESTION, word(Kept::LowerLayer), answer).into())
        }
    }
}

/// `keepNewest`: how many of its directory that the same rule names are newer.
fn newest(
    means: &Means<'_>,
    policy: &SweepPolicy,
    file: &File<'_>,
    named: &Named,
    chain: &mut Chain,
) -> Result<(), Halt> {
    const QUESTION: &str = "is it one of the newest that its rule keeps?";
    let (keep, Some(name), Some(parent)) =
        (named.junk.keep_newest, file.path.file_name(), file.path.parent())
    else {
        return Ok(());
    };
    if keep == 0 {
        return Ok(());
    }
    let never: Vec<String> = means.standing.never.iter().chain(&policy.spec.never).cloned().collect();
    let junk = Junk::compile(&policy.spec.junk, &never)
        .map_err(|error| chain.decides(4, QUESTION, "PolicyInvalid", error.to_string()))?;
    let is_junk = |other: &[u8], identity: &Identity| {
        let path = parent.join(std::ffi::OsStr::from_bytes(other));
        let said = junk.judge(file.place.kind, path.as_os_str().as_bytes(), &facts(identity), means.now);
        let by_this_rule = matches!(said, Judgement::Junk { rule, .. } if rule == named.rule);
        by_this_rule && !is_hidden(means.container, &file.place, &path)
    };
    let directory = file.place.parent().map_err(cannot("read the directory of"))?;
    let count = newest::newer(&directory, name, &Identity::from(&file.stat), is_junk)
        .map_err(cannot("read the directory of"))?;
    match count {
        Some(count) if count < keep => {
            let answer = format!("yes, {count} of its directory are newer and the rule keeps {keep}");
            Err(chain.decides(4, QUESTION, word(Kept::Newest), answer).into())
        }
        Some(count) => {
            chain.goes_on(
                4,
                QUESTION,
                format!("no, {count} of its directory are newer and the rule keeps {keep}"),
            );
            Ok(())
        }
        None => {
            chain.goes_on(4, QUESTION, "not known: its directory has too many entries to ask; a scan tells");
            Ok(())
        }
    }
}

// What a scan would not offer to `keepNewest` at all: a mount on the file, the image's own.
fn is_hidden(container: &Container, place: &Place, path: &Path) -> bool {
    let below = path.strip_prefix(&place.mount_point).unwrap_or(path);
    !matches!(place::storage_of(container, path), Storage::Of(found) if found.mount_point == place.mount_point)
        || (place.kind == VolumeKind::WritableLayer
            && !matches!(place::image_layer(container, below), Ok(None)))
}

/// The checks that are made at the moment of removal.
async fn removal(
    means: &Means<'_>,
    policy: &SweepPolicy,
    file: &File<'_>,
    named: &Named,
    chain: &mut Chain,
) -> Result<(), Halt> {
    const QUESTION: &str = "is it open, mapped, locked, changed or hidden, now?";
    let roots = plan_roots(means.container, &policy.spec.junk);
    let Some(candidate) = candidate(&roots, file, named) else {
        return Err(chain
            .decides(0, QUESTION, "NothingToSweep", "no rule looks at this storage: stays")
            .into());
    };
    let never = means.standing.never.iter().chain(&policy.spec.never).cloned().collect();
    let audit = Arc::clone(&means.audit);
    match removal::ask(means.container, policy, roots, never, candidate, means.cgroups, audit).await {
        Verdict::Goes => {
            chain.goes_on(0, QUESTION, "no");
            Ok(())
        }
        Verdict::Stays(reason) => Err(chain
            .decides(0, QUESTION, word(reason), format!("yes: {}, stays", at_the_door(reason)))
            .into()),
        Verdict::Gone => Err(chain.decides(0, QUESTION, "NotThere", "it is gone by now").into()),
        Verdict::Ends(reason, message) => {
            Err(chain.decides(0, "would a sweep come to it now?", reason, format!("no: {message}")).into())
        }
    }
}

fn candidate(roots: &[ScanRoot], file: &File<'_>, named: &Named) -> Option<Candidate> {
    let of = |root: &ScanRoot| root.kind == file.place.kind && root.seen_at == file.place.mount_point;
    Some(Candidate {
        root: u16::try_from(roots.iter().position(of)?).ok()?,
        path: file.place.below.as_os_str().as_bytes().to_vec(),
        rule: named.rule,
        action: named.junk.action,
        identity: Identity::from(&file.stat),
        allocated: u64::try_from(file.stat.st_blocks).unwrap_or_default() * 512,
    })
}

fn at_the_door(reason: Kept) -> &'static str {
    match reason {
        Kept::Open => "a process has it open, mapped or locked",
        Kept::Changed => "it changed a moment ago",
        Kept::ViewDiffers => "the container does not see this very file under this name",
        Kept::MountInside => "something is mounted on it",
        Kept::LowerLayer => "a layer of the image has it, too",
        Kept::Refused => "the kernel refused to let it be looked at",
        Kept::NotPassable => "its path would not reach rm in the container as it is",
        _ => "the last look says so",
    }
}

/// Everybody said yes.
fn conclude(policy: &SweepPolicy, named: &Named, chain: &mut Chain) {
    if policy.spec.mode == Mode::Enforce {
        chain.decided_at(named.place);
        return;
    }
    let answer = "no, DryRun: it would go; a sweep reports it and leaves it there";
    chain.decides(4, "does the policy remove what it names?", "DryRun", answer);
}

#[cfg(test)]
mod tests;
