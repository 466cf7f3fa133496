//! Where an attack takes place: junk in the container, and canaries that bear the names of the junk, on the host and
//! in the container, for every attack to lead to. Made from outside, before the attack.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::canary::Canaries;
use crate::container::Container;
use crate::workspace::Workspace;

/// Files of each directory of canaries: names that the junk has, too.
const CANARIES: u32 = 40;
/// Files of the host's own that an attack leads to besides; nobody changes them while tests run.
const OF_THE_HOST: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/os-release"];
/// In the container, where no rule of the attacks' policy looks.
const PRECIOUS: &str = "/srv/precious";

/// Canaries on the host and in one container.
#[derive(Debug)]
pub struct Ground {
    host: PathBuf,
    inside: PathBuf,
    _workspace: Workspace,
}

impl Ground {
    /// Makes both. The host's are on the filesystem that holds the container's layers.
    pub fn lay(prefix: &str, container: &Container) -> Result<Self> {
        let workspace = Workspace::new(prefix)?;
        let host = workspace.folder("canaries")?;
        let inside = container.inside(PRECIOUS)?;
        for top in [&host, &inside] {
            for directory in ["", "sub", "v", "v/sub"] {
                fill(&top.join(directory), CANARIES, "precious")?;
            }
        }
        Ok(Self { host, inside, _workspace: workspace })
    }

    /// The host's canaries.
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// As they are now.
    pub fn canaries(&self) -> Result<Canaries> {
        let mut trees = vec![self.host.clone(), self.inside.clone()];
        trees.extend(OF_THE_HOST.map(PathBuf::from).into_iter().filter(|path| path.is_file()));
        Canaries::in_trees(&trees)
    }

    /// What symlinks in a directory of the container's `/tmp` can say to lead out of it: to the host, by every way
    /// that a program which follows links may take, and to the container's own precious files.
    pub fn ways_out(&self) -> Vec<PathBuf> {
        /// More than any path here has: `..` of the root is the root.
        const UP: &str = "../../../../../../../../..";
        let to = |target: &Path| {
            let below_root = target.strip_prefix("/").unwrap_or(target);
            let roots = ["/", UP, "/proc/1/root", "/proc/self/root"];
            roots.map(|root| Path::new(root).join(below_root))
        };
        let inside = ["..", "/proc/self/root"].map(|root| Path::new(root).join("srv/precious"));
        to(&self.host).into_iter().chain(to(Path::new("/etc"))).chain(inside).collect()
    }

    /// Decoys: a symlink in the container's /srv for each of `victims`, the ways out in turn. The pairs to exchange.
    pub fn decoys(&self, container: &Container, victims: &[PathBuf]) -> Result<Vec<(PathBuf, PathBuf)>> {
        let ways = self.ways_out();
        let mut pairs = Vec::new();
        for (number, (victim, way)) in victims.iter().zip(ways.iter().cycle()).enumerate() {
            let decoy = PathBuf::from(format!("/srv/decoy-{number}"));
            let link = container.inside(&decoy.to_string_lossy())?;
            symlink(way, &link).with_context(|| format!("cannot make {}", link.display()))?;
            pairs.push((victim.clone(), decoy));
        }
        Ok(pairs)
    }
}

/// Files `j-N.tmp` in a directory, made where it is missing, and one that no rule names.
pub fn fill(directory: &Path, files: u32, content: &str) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for number in 0..files {
        let file = directory.join(format!("j-{number}.tmp"));
        fs::write(&file, content).with_context(|| format!("cannot make {}", file.display()))?;
    }
    fs::write(directory.join(".keep"), content)?;
    Ok(())
}
