//! Which kernels there are to boot. In: what `apt-cache madison` prints. Out: one entry for each kernel series, newest
//! first, and the one that a name (`6.1`, `oldest`, `newest`) stands for. Pure: asks nobody, touches no file.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// A line of kernels that are the same but for fixes, `6.12`. Ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Series {
    major: u32,
    minor: u32,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.major, self.minor))
    }
}

impl FromStr for Series {
    type Err = anyhow::Error;

    /// The first two numbers of any kernel version: `6.12`, `6.12.117-1`.
    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.split(['.', '-', '+', '~']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => bail!("{text}: no kernel version (6.12, for example)"),
        }
    }
}

/// The newest kernel of a series that apt can fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) series: Series,
    /// Debian's version of the package, `6.12.117-1`.
    pub(crate) version: String,
    /// The suite that has it, `trixie-security`.
    pub(crate) suite: String,
}

/// Every series, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Catalogue(Vec<Entry>);

impl Catalogue {
    /// From madison's lines, `package | version | URI suite/component architecture Packages`. apt prints the newest
    /// version first: of a series, the first is taken.
    pub(crate) fn from_madison(text: &str) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for line in text.lines() {
            let entry = entry(line).with_context(|| format!("apt-cache madison says {line:?}"))?;
            if entries.iter().all(|known| known.series != entry.series) {
                entries.push(entry);
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.series));
        if entries.is_empty() {
            bail!("apt knows no kernel");
        }
        Ok(Self(entries))
    }

    /// Every entry, newest first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// What `name` stands for: a series, `oldest` or `newest`.
    pub(crate) fn named(&self, name: &str) -> Result<&Entry> {
        let found = match name {
            "newest" => self.0.first(),
            "oldest" => self.0.last(),
            series => {
                let series = Series::from_str(series)?;
                self.0.iter().find(|entry| entry.series == series)
            }
        };
        found.with_context(|| format!("no kernel {name}; there are: oldest, newest, {}", self.names()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|entry| entry.series.to_string()).collect();
        names.join(", ")
    }
}

fn entry(line: &str) -> Result<Entry> {
    let mut fields = line.split('|').map(str::trim);
    let (_, version, place) = (fields.next(), fields.next(), fields.next());
    let version = version.context("no version")?;
    let suite = place
        .and_then(|place| place.split_whitespace().nth(1)?.rsplit_once('/'))
        .map(|(suite, _)| suite)
        .context("no suite")?;
    Ok(Entry { series: version.parse()?, version: version.to_owned(), suite: suite.to_owned() })
}

/// The packages of `Depends:` that the kernel `release` itself is split into (from about 7.2 on), without what would
/// make it boot on a Debian: initramfs tools and the like.
pub(crate) fn parts<'a>(depends: &'a str, release: &str) -> Vec<&'a str> {
    let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    names.filter(|name| name.starts_with("linux-") && name.ends_with(&format!("-{release}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As printed on 2026-11-22, shortened.
    const MADISON: &str = "\
linux-image-cloud-amd64 | 7.3.4-1~bpo13+1 | http://deb.debian.org/debian trixie-backports/main amd64 Packages
linux-image-cloud-amd64 |   7.2.13-1 | http://deb.debian.org/debian sid/main amd64 Packages
linux-image-cloud-amd64 | 6.12.117-1 | http://deb.debian.org/debian-security trixie-security/main amd64 Packages
linux-image-cloud-amd64 | 6.12.107-1 | http://deb.debian.org/debian trixie/main amd64 Packages
linux-image-cloud-amd64 |  6.1.192-2 | http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
";

    fn catalogue() -> Catalogue {
        Catalogue::from_madison(MADISON).unwrap()
    }

    #[test]
    fn of_each_series_the_newest_is_known_and_where_it_is() {
        let known: Vec<_> = catalogue()
            .entries()
            .iter()
            .map(|entry| format!("{} {} {}", entry.series, entry.version, entry.suite))
            .collect();
        assert_eq!(
            known,
            [
                "7.3 7.3.4-1~bpo13+1 trixie-backports",
                "7.2 7.2.13-1 sid",
                "6.12 6.12.117-1 trixie-security",
                "6.1 6.1.192-2 bookworm-security",
            ]
        );
    }

    #[test]
    fn series_are_ordered_as_numbers() {
        let [old, new] = ["6.1.192-2", "6.12"].map(|text| text.parse::<Series>().unwrap());
        assert!(old < new && new < "7.0".parse().unwrap());
    }

    #[test]
    fn a_kernel_is_named_by_its_series_or_by_its_age() {
        let catalogue = catalogue();
        let version = |name| catalogue.named(name).map(|entry| entry.version.clone());
        assert_eq!(version("6.12").unwrap(), "6.12.117-1");
        assert_eq!(version("newest").unwrap(), "7.3.4-1~bpo13+1");
        assert_eq!(version("oldest").unwrap(), "6.1.192-2");
        let refused = version("5.15").unwrap_err().to_string();
        assert_eq!(refused, "no kernel 5.15; there are: oldest, newest, 7.3, 7.2, 6.12, 6.1");
        assert!(version("latest").unwrap_err().to_string().contains("no kernel version"));
    }

    #[test]
    fn what_apt_does_not_say_is_an_error() {
        assert!(Catalogue::from_madison("").is_err());
        assert!(Catalogue::from_madison("N: Unable to locate package linux-image-cloud-amd64").is_err());
    }

    #[test]
    fn a_split_kernel_comes_with_its_parts_and_nothing_else() {
        let depends = "dracut | initramfs-tools (>= 0.120) | linux-initramfs-tool, linux-base (>= 4.3~), \
             linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)";
        assert_eq!(
            parts(depends, "7.3.4+deb13-cloud-amd64"),
            ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
        );
        assert!(parts("kmod, linux-base (>= 4.3~)", "6.1.0-56-cloud-amd64").is_empty());
    }
}
