//! A container's root mount to its overlayfs layers.
//!
//! In: the root mount's options as mountinfo shows them. Out: a [`Layer`] whose directories were looked at and
//! proven to be the container's, or none. Must never: hand on an upper directory that is not the one below this very
//! mount (the text may be relative, or mean another mount namespace), or a list of lower layers with one missing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::Layer;
use super::mounts::{Mount, unescape_octal};
use super::root::Directory;

/// How often the proof is tried while the container changes its root directory between the two looks.
const PROOF_ATTEMPTS: usize = 3;

/// Most lower layers that are accepted: the kernel's own limit (`OVL_MAX_STACK`, fs/overlayfs/params.h).
const MAX_LOWER: usize = 500;

/// Where Docker mounts overlays with relative paths when absolute ones would not fit into a page
/// (daemon/graphdriver/overlay2, default data-root).
const DOCKER_ROOT: &str = "/var/lib/docker/overlay2";

/// The layers of a root mount; `None` where it is no overlay, has no upper, or could not be proven.
pub(super) fn layer(mount: &Mount, root: &Directory) -> Option<Layer> {
    if mount.fs_type != "overlay" || mount.root != Path::new("/") {
        return None;
    }
    let text = Options::parse(&mount.options)?;
    let upper = text.upper_readings().into_iter().find_map(|path| proven_upper(&path, root))?;
    let lower = lower_on_host(&text.lower, &upper)?;
    Some(Layer { upper, lower, mount_id: mount.id })
}

/// `lowerdir=`, `lowerdir+=` and `upperdir=`, as they were given to mount(2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    upper: Vec<u8>,
    pub(crate) lower: Vec<PathBuf>,
}

impl Options {
    // Data-only layers (`datadir+`, or behind `::`) show no names of their own; keeping what they name is harmless.
    pub(crate) fn parse(options: &str) -> Option<Self> {
        let mut upper = None;
        let mut lower = Vec::new();
        for option in options.split(',') {
            let Some((key, value)) = option.split_once('=') else { continue };
            let value = unescape_octal(value);
            match key {
                "upperdir" => upper = Some(value),
                "lowerdir" => lower.extend(split_colons(&value)),
                "lowerdir+" | "datadir+" => lower.push(path(value)),
                _ => {}
            }
        }
        (!lower.is_empty() && lower.len() <= MAX_LOWER).then_some(Self { upper: upper?, lower })
    }

    // Kernels differ in whether a backslash in upperdir was an escape; the proof tells which reading is right.
    pub(crate) fn upper_readings(&self) -> Vec<PathBuf> {
        let mut readings = vec![path(self.upper.clone())];
        if self.upper.contains(&b'\\') {
            readings.push(path(unescape_backslashes(&self.upper)));
        }
        if readings[0].is_relative() {
            readings = readings.iter().map(|reading| Path::new(DOCKER_ROOT).join(reading)).collect();
        }
        readings
    }
}

// Colons separate, `\:` is a colon in a name, `::` begins the data-only layers (overlayfs.rst).
fn split_colons(value: &[u8]) -> Vec<PathBuf> {
    let mut parts = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b':' => parts.push(Vec::new()),
            b'\\' => parts.last_mut().into_iter().for_each(|part| part.extend(bytes.next())),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(byte)),
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).map(path).collect()
}

fn unescape_backslashes(value: &[u8]) -> Vec<u8> {
    let mut bytes = value.iter();
    let mut plain = Vec::with_capacity(value.len());
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    plain
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn proven_upper(path: &Path, root: &Directory) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let upper = Directory::open(&path).ok()?;
    let proven = (0..PROOF_ATTEMPTS).any(|_| {
        matches!((upper.handed_through(), root.handed_through()), (Ok(upper), Ok(merged)) if upper == merged)
    });
    proven.then_some(path)
}

// containerd shortens long options by making the lower layers relative to the folder of the snapshots, two above
// the upper directory. Nothing below the upper directory itself is a base: the container writes there.
fn lower_on_host(lower: &[PathBuf], upper: &Path) -> Option<Vec<PathBuf>> {
    let bases = upper.ancestors().skip(1).take(2).chain([Path::new(DOCKER_ROOT)]);
    let under =
        |base: &Path| lower.iter().map(|layer| directory(&base.join(layer))).collect::<Option<Vec<_>>>();
    if lower.iter().all(|layer| layer.is_absolute()) {
        return under(Path::new("/"));
    }
    bases.into_iter().find_map(under)
}

fn directory(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowers(options: &str) -> Vec<String> {
        let options = Options::parse(options).unwrap();
        options.lower.iter().map(|layer| layer.display().to_string()).collect()
    }

    #[test]
    fn options_of_every_writing_are_read() {
        assert_eq!(lowers("rw,lowerdir=/c:/b:/a,upperdir=/u,workdir=/w"), ["/c", "/b", "/a"]);
        // A colon in a name, as old and new kernels show it; a comma; data-only layers.
        assert_eq!(lowers("rw,lowerdir=/c\\:1:/b,upperdir=/u"), ["/c:1", "/b"]);
        assert_eq!(lowers("rw,lowerdir=/c\\134:1:/b\\0541,upperdir=/u"), ["/c:1", "/b,1"]);
        assert_eq!(lowers("rw,lowerdir=/b::/data,upperdir=/u"), ["/b", "/data"]);
        // Added one by one (Linux 6.7): colons are nothing special, and there are several of the key.
        assert_eq!(lowers("rw,lowerdir+=/c:1,lowerdir+=/b,datadir+=/d,upperdir=/u"), ["/c:1", "/b", "/d"]);
    }

    #[test]
    fn without_an_upper_or_a_lower_there_is_no_layer() {
        assert_eq!(Options::parse("ro,lowerdir=/b:/a"), None);
        assert_eq!(Options::parse("rw,upperdir=/u"), None);
        let many = vec!["/l"; MAX_LOWER + 1].join(":");
        assert_eq!(Options::parse(&format!("lowerdir={many},upperdir=/u")), None);
    }

    #[test]
    fn a_relative_upper_is_looked_for_where_docker_keeps_them_only() {
        let options = Options::parse("lowerdir=l/A:l/B,upperdir=abc/diff").unwrap();
        assert_eq!(options.upper_readings(), [Path::new("/var/lib/docker/overlay2/abc/diff")]);
    }

    #[test]
    fn a_backslash_in_upper_has_two_readings() {
        let options = Options::parse("lowerdir=/l,upperdir=/u\\134:1").unwrap();
        assert_eq!(options.upper_readings(), [Path::new("/u\\:1"), Path::new("/u:1")]);
    }

    #[test]
    fn relative_lowers_are_all_found_under_one_base_or_none_is() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        for name in ["9/fs", "8/fs", "7/fs"] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        let upper = home.join("9/fs");
        let relative = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            lower_on_host(&relative(&["8/fs", "7/fs"]), &upper),
            Some(vec![home.join("8/fs"), home.join("7/fs")])
        );
        assert_eq!(lower_on_host(&relative(&["8/fs", "6/fs"]), &upper), None);
        // What the container itself may write is never taken for a layer.
        std::fs::create_dir_all(upper.join("6/fs")).unwrap();
        assert_eq!(lower_on_host(&relative(&["6/fs"]), &upper), None);
    }

    #[test]
    fn a_directory_that_only_looks_alike_is_not_the_upper() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        // b is changed last: its times differ from a's, whatever the clock's granularity.
        let b = home.path().join("b");
        rustix::fs::utimensat(
            rustix::fs::CWD,
            &b,
            &rustix::fs::Timestamps {
                last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
                last_modification: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
            },
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
        let root = Directory::open(&home.path().join("a")).unwrap();
        assert!(proven_upper(&home.path().join("a"), &root).is_some());
        assert!(proven_upper(&b, &root).is_none());
        assert!(proven_upper(&home.path().join("c"), &root).is_none());
    }
}
