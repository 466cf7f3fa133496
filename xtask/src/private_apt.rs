//! apt with sources and state of its own, so that what other Debian suites hold can be fetched without a change to
//! the machine's. In: the mirrors that the machine's own sources name, and its keyring. Out: what apt knows, and
//! downloaded packages. Must never install anything, nor write outside the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{program, run, step};

/// Signs every suite named here; apt checks it as for the machine's own sources.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What Debian calls its archive and its security archive on every mirror: the last part of the address.
const ARCHIVE: &str = "debian";
const SECURITY: &str = "debian-security";

/// What of Debian's archives an apt of its own knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suites {
    /// What they are asked for: `kernels`.
    pub(crate) wanted: &'static str,
    /// Suites of the archive.
    pub(crate) archive: &'static [&'static str],
    /// Suites of the security archive.
    pub(crate) security: &'static [&'static str],
    /// Suites of the archive whose source packages are wanted.
    pub(crate) source: &'static [&'static str],
}

/// An apt of its own, set up below a folder of the cache.
#[derive(Debug)]
pub(crate) struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// Writes its configuration below `folder` and asks the mirrors what they have: some 10 MB for each suite.
    pub(crate) fn update(folder: &Path, suites: &Suites) -> Result<Self> {
        let apt = Self::open(folder, suites)?;
        step(&format!("apt-get update, of Debian's suites that have {} (in the cache)", suites.wanted));
        run(apt.command("apt-get").args(["update", "-qq"]))?;
        Ok(apt)
    }

    /// As the last [`Self::update`] left it.
    pub(crate) fn open(folder: &Path, suites: &Suites) -> Result<Self> {
        for below in ["parts", "lists/partial", "cache/archives/partial"] {
            let below = folder.join(below);
            fs::create_dir_all(&below).with_context(|| format!("cannot make {}", below.display()))?;
        }
        let sources = sources(&own_mirrors()?, suites)?;
        for (name, text) in [("sources.list", sources), ("apt.conf", configuration(folder))] {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// `apt-cache madison PACKAGE`.
    pub(crate) fn versions(&self, package: &str) -> Result<String> {
        self.asked("apt-cache", &["madison", package])
    }

    /// The field `Depends:` of this version of a package.
    pub(crate) fn depends(&self, package: &str, version: &str) -> Result<String> {
        let shown = self.asked("apt-cache", &["show", &format!("{package}={version}")])?;
        shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: ").map(str::to_owned))
            .with_context(|| format!("apt-cache show {package}={version}: no field Depends"))
    }

    /// Downloads packages (`name`, or `name=version`) into `target`.
    pub(crate) fn download(&self, packages: &[String], target: &Path) -> Result<()> {
        step(&format!("apt-get download {} (in the cache)", packages.join(" ")));
        run(self.command("apt-get").args(["download", "-qq"]).args(packages).current_dir(target))
    }

    /// Downloads the newest version of a source package into `target`, which apt checks and does not unpack.
    pub(crate) fn download_source(&self, package: &str, target: &Path) -> Result<()> {
        step(&format!("apt-get source {package} (in the cache)"));
        let mut source = self.command("apt-get");
        run(source.args(["source", "--download-only", "-qq", package]).current_dir(target))
    }

    fn asked(&self, tool: &str, arguments: &[&str]) -> Result<String> {
        let answer = self.command(tool).args(arguments).output();
        let answer = answer.with_context(|| format!("cannot start {tool}"))?;
        if !answer.status.success() {
            bail!("{tool} {}: {}", arguments.join(" "), String::from_utf8_lossy(&answer.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = program(tool);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }
}

/// The addresses of the machine's own apt sources, as apt itself reads them.
fn own_mirrors() -> Result<Vec<String>> {
    let mut ask = program("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let answer = ask.output().context("cannot start apt-get")?;
    Ok(String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect())
}

/// A sources.list of the suites, on the same mirrors. Where no mirror is known for the security archive, what the others
/// have is somewhat older.
fn sources(mirrors: &[String], suites: &Suites) -> Result<String> {
    let mirror = |archive: &str| {
        mirrors.iter().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with(&format!("/{archive}")))
    };
    let Some(main) = mirror(ARCHIVE) else {
        bail!(
            "apt's sources name no Debian archive (an address that ends in /debian): its {} are needed",
            suites.wanted
        )
    };
    let lines = |kind: &str, uri: &str, suites: &[&str]| -> Vec<String> {
        suites.iter().map(|suite| format!("{kind} [signed-by={KEYRING}] {uri} {suite} main\n")).collect()
    };
    let security = mirror(SECURITY).map(|uri| lines("deb", uri, suites.security)).unwrap_or_default();
    Ok([lines("deb", main, suites.archive), security, lines("deb-src", main, suites.source)]
        .concat()
        .concat())
}

/// What differs from the machine's own configuration, which stays in force otherwise: proxies, say.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
         Dir::Etc::sourceparts \"{folder}/parts\";\n\
         Dir::State::lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         // The user _apt may not enter root's cache folder.\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         // Of no use for kernels, and a third of the download.\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled \"false\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: Suites = Suites {
        wanted: "kernels",
        archive: &["bookworm", "sid"],
        security: &["bookworm-security"],
        source: &["bookworm"],
    };

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn other_suites_come_from_the_machines_own_mirrors() {
        let own = ["http://mirror.example/debian/", "http://other.example/debian-security/", "https://a/b/"];
        let sources = sources(&strings(&own), &SUITES).unwrap();
        assert!(
            sources.contains(&format!("deb [signed-by={KEYRING}] http://mirror.example/debian sid main\n"))
        );
        assert!(
            sources.contains("] http://other.example/debian-security bookworm-security main\n"),
            "{sources}"
        );
        assert_eq!(sources.lines().count(), 4);
    }

    #[test]
    fn source_packages_are_asked_for_only_where_they_are_wanted() {
        let own = strings(&["http://mirror.example/debian/"]);
        let with = sources(&own, &SUITES).unwrap();
        assert!(with.ends_with(&format!(
            "deb-src [signed-by={KEYRING}] http://mirror.example/debian bookworm main\n"
        )));
        assert!(!sources(&own, &Suites { source: &[], ..SUITES }).unwrap().contains("deb-src"));
    }

    #[test]
    fn without_a_security_archive_there_are_the_others() {
        let sources = sources(&strings(&["http://mirror.example/debian/"]), &SUITES).unwrap();
        assert_eq!(sources.lines().count(), 3);
    }

    #[test]
    fn no_debian_no_kernels() {
        let refused =
            sources(&strings(&["http://archive.ubuntu.com/ubuntu/"]), &SUITES).unwrap_err().to_string();
        assert!(refused.contains("no Debian archive"), "{refused}");
    }

    #[test]
    fn state_and_sources_are_the_caches() {
        let text = configuration("/cache/apt".as_ref());
        for place in ["sourcelist", "sourceparts", "lists", "Cache"] {
            let line = text.lines().find(|line| line.contains(place)).unwrap();
            assert!(line.contains("\"/cache/apt/"), "{line}");
        }
    }
}
