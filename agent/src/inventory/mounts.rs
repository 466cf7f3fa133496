//! `/proc/PID/mountinfo`, decoded. Pure but for the bounded read.
//!
//! In: the file's bytes. Out: [`Mount`]s, with the kernel's octal escapes undone, and overlayfs's options as text
//! (procfs keeps options in a map and would fold overlayfs's repeated `lowerdir+` into one).
//! Must never: skip a container's mount that it cannot read; a mount not known is a mount not kept out of.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::kernel::KernelError;

/// Largest mountinfo that is read: some 40,000 mounts of 200 bytes. The kernel's own limit is 100,000 mounts a
/// namespace (`fs.mount-max`); a namespace with more than we read has no layer and no volumes.
const MAX_MOUNTINFO: u64 = 8 << 20;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(super) id: u64,
    /// `major:minor` of the filesystem.
    pub(super) device: String,
    /// The directory of that filesystem which is mounted.
    pub(crate) root: PathBuf,
    /// Where, relative to the reading process's root.
    pub(crate) point: PathBuf,
    pub(super) fs_type: String,
    pub(super) read_only: bool,
    /// Options of the filesystem, still escaped.
    pub(crate) options: String,
}

/// The mounts of `/proc/WHO/mountinfo` (`self`, or a pid).
pub(super) fn read(who: &str) -> Result<Vec<Mount>, KernelError> {
    let path = Path::new("/proc").join(who).join("mountinfo");
    let fail = |source| KernelError::Read { path: path.clone(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(fail)?;
    file.take(MAX_MOUNTINFO + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_MOUNTINFO {
        return Err(KernelError::Parse { path, what: format!("more than {MAX_MOUNTINFO} bytes") });
    }
    parse(&bytes).map_err(|what| KernelError::Parse { path, what })
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Mount>, String> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse_line(line).ok_or_else(|| String::from_utf8_lossy(line).into_owned())).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let line = std::str::from_utf8(line).ok()?;
    // Six fields, optional ones, a separator, the filesystem's three (proc_pid_mountinfo(5)).
    let options = line.split(' ').skip(6).skip_while(|field| *field != "-").nth(3)?.to_owned();
    let mount = procfs::process::MountInfo::from_line(line).ok()?;
    Some(Mount {
        id: u64::try_from(mount.mnt_id).ok()?,
        device: mount.majmin,
        root: path(&mount.root),
        point: path(mount.mount_point.to_str()?),
        fs_type: mount.fs_type,
        read_only: mount.mount_options.contains_key("ro"),
        options,
    })
}

fn path(escaped: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape_octal(escaped)))
}

/// Undoes the kernel's `\ooo` (seq_file's string_escape): space, tab, newline, backslash, and in options the comma.
pub(super) fn unescape_octal(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'\\').then(|| octal(after)).flatten();
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &after[3..] } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..3).filter(|three| three.iter().all(|digit| (b'0'..=b'7').contains(digit)))?;
    let value = digits.iter().fold(0_u16, |value, digit| value * 8 + u16::from(digit - b'0'));
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recorded_line_is_read_whole() {
        let line =
            b"90 67 0:39 / /a\\040b ro,relatime master:1 - overlay overlay rw,lowerdir=/l,upperdir=/u\n";
        let mounts = parse(line).unwrap();
        assert_eq!(
            mounts,
            [Mount {
                id: 90,
                device: "0:39".into(),
                root: "/".into(),
                point: "/a b".into(),
                fs_type: "overlay".into(),
                read_only: true,
                options: "rw,lowerdir=/l,upperdir=/u".into(),
            }]
        );
    }

    #[test]
    fn one_line_that_cannot_be_read_refuses_them_all() {
        let good = b"90 67 0:39 / / rw - overlay overlay rw\n".to_vec();
        assert_eq!(parse(&good).unwrap().len(), 1);
        for bad in [
            &b"91 90 0:42 / /\xff rw - proc proc rw\n"[..],
            b"91 90\n",
            b"-1 90 0:42 / /p rw - proc proc rw\n",
        ] {
            assert!(parse(&[&good, bad].concat()).is_err());
        }
    }

    #[test]
    fn only_behind_the_sixth_field_is_a_dash_the_separator() {
        let mounts = parse(b"90 67 0:39 - /p rw - overlay none rw,upperdir=/u\n").unwrap();
        assert_eq!(mounts[0].options, "rw,upperdir=/u");
    }

    #[test]
    fn own_mounts_are_readable() {
        assert!(read("self").unwrap().iter().any(|mount| mount.point == Path::new("/")));
    }

    proptest! {
        #[test]
        fn octal_escapes_are_undone(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let escaped: String = bytes
                .iter()
                .map(|byte| match byte {
                    b' ' | b'\t' | b'\n' | b'\\' | 0x80.. => format!("\\{byte:03o}"),
                    _ => char::from(*byte).to_string(),
                })
                .collect();
            prop_assert_eq!(unescape_octal(&escaped), bytes);
        }
    }

    #[test]
    fn a_backslash_that_begins_no_escape_stays() {
        assert_eq!(unescape_octal("a\\:b"), b"a\\:b");
        assert_eq!(unescape_octal("a\\777"), b"a\\777");
        assert_eq!(unescape_octal("a\\04"), b"a\\04");
    }
}
