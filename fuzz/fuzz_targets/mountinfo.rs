//! `/proc/PID/mountinfo` of a container, whose paths are its owner's, and the overlay options in it.
//!
//! The input is read as a mountinfo; its lines also serve as names of layers, which are written as the kernel writes
//! them and read back.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use podsweep::fuzzing::{Mount, mounts, overlay_layers};

/// `OVL_MAX_STACK` of fs/overlayfs/params.h.
const MAX_LOWER: usize = 500;

fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    if let Some(mounts) = mounts(bytes) {
        assert_eq!(mounts.len(), lines.len(), "a mount not known is a mount not kept out of");
        for (mount, line) in mounts.iter().zip(&lines) {
            is_what_the_line_says(mount, line);
            if let Some((upper, lower)) = overlay_layers(&mount.options) {
                assert!(!upper.is_empty() && (1..=MAX_LOWER).contains(&lower.len()));
            }
        }
    }
    layers_come_back(&lines);
});

/// proc_pid_mountinfo(5): field 4 is the root, field 5 the mount point, options are third behind the separator.
fn is_what_the_line_says(mount: &Mount, line: &[u8]) {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    assert_eq!(mount.root.as_os_str().as_bytes(), unescape(fields[3]));
    assert_eq!(mount.point.as_os_str().as_bytes(), unescape(fields[4]));
    let separator = 6 + fields[6..].iter().position(|field| *field == b"-").expect("a line has a separator");
    assert_eq!(mount.options.as_bytes(), fields[separator + 3]);
}

/// `\ooo` is a byte; any other backslash is itself.
fn unescape(text: &[u8]) -> Vec<u8> {
    let octal = text.get(..4).filter(|escape| escape[0] == b'\\' && matches!(escape[1], b'0'..=b'3'));
    let octal = octal.filter(|escape| escape[2..].iter().all(|digit| matches!(digit, b'0'..=b'7')));
    match (octal, text.split_first()) {
        (Some(escape), _) => {
            let value = escape[1..].iter().fold(0, |value, digit| value * 8 + (digit - b'0'));
            [&[value][..], &unescape(&text[4..])].concat()
        }
        (None, Some((first, rest))) => [&[*first][..], &unescape(rest)].concat(),
        (None, None) => Vec::new(),
    }
}

/// The first name as the upper layer, the others as the lower ones. An option is text, so the names must be.
fn layers_come_back(names: &[&[u8]]) {
    let names: Vec<&str> = names.iter().filter_map(|name| std::str::from_utf8(name).ok()).collect();
    let Some((upper, lower)) =
        names.split_first().filter(|(_, lower)| (1..=MAX_LOWER).contains(&lower.len()))
    else {
        return;
    };
    let upper = format!("/{upper}");
    let colons: Vec<String> =
        lower.iter().map(|name| name.replace('\\', "\\\\").replace(':', "\\:")).collect();
    let together = format!("lowerdir={}", escape(&colons.join(":")));
    let singly: Vec<String> = lower.iter().map(|name| format!("lowerdir+={}", escape(name))).collect();
    for lowers in [together, singly.join(",")] {
        let options = format!("rw,{lowers},upperdir={},workdir=/w,xino=off", escape(&upper));
        let (uppers, lowers) = overlay_layers(&options).expect("both are there");
        assert_eq!(uppers[0], Path::new(&upper), "{options:?}");
        assert_eq!(lowers, lower.iter().map(path).collect::<Vec<_>>(), "{options:?}");
    }
}

fn path(name: &&str) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name.as_bytes()))
}

/// `seq_escape` of the kernel, as overlayfs asks for it.
fn escape(text: &str) -> String {
    let one = |character: char| match character {
        ' ' | '\t' | '\n' | '\\' | ',' => format!("\\{:03o}", u32::from(character)),
        other => other.to_string(),
    };
    text.chars().map(one).collect()
}
