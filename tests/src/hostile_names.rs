//! Names of files that try to be something else wherever they are shown: to a terminal, in a line of a log or a
//! journal, in a label, as an option, as a path that leads elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The longest that a filesystem allows (`NAME_MAX`).
const LONGEST: usize = 255;

/// Such names, as the kernel has them. None holds a slash or a NUL: no name can.
pub fn names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 26] = [
        b"new\nline",
        b"carriage\rreturn",
        b"tab\tstop \x0b\x0c\x08",
        b"\x1b[2J\x1b[1;31mcleared",
        b"\x1b]0;title\x07",
        b"\x1b]8;;http:example.com\x1b\\link\x1b]8;;\x1b\\",
        b"delete\x7f",
        "C1 \u{9b}31m \u{9d}0;title\u{9c}".as_bytes(),
        "direction \u{202e}gpj.exe\u{202c} \u{2066}".as_bytes(),
        "separator \u{2028}\u{2029}\u{feff}".as_bytes(),
        b"\xff\xfe invalid",
        b"\xc3 cut short",
        b"\xed\xa0\x80 surrogate",
        b"quote\" apostrophe' grave` backslash\\",
        b"\"}\n{\"event\":\"done\",\"removed\":1",
        b"\\u000a\\n\\x1b",
        b"podsweep_files_removed_total{policy=\"x\"} 9e9\n# TYPE x counter",
        b"\",outcome=\"Complete",
        b"$(reboot) `reboot` ;reboot &",
        b"-rf",
        b"--help",
        b"...",
        b"..\\..\\etc\\passwd",
        b"%2e%2e%2f.. ..",
        b"* ? [a-z] {a,b} **",
        b" ",
    ];
    let longest = [b"\n".repeat(LONGEST), b"\xff".repeat(LONGEST), b"x".repeat(LONGEST)];
    names.iter().map(|name| name.to_vec()).chain(longest).collect()
}

/// A file of each name in `folder`, and a directory of each name with a file of each in it; how many files.
pub fn fill(folder: &Path) -> Result<u64> {
    let mut files = 0;
    let names = names();
    let directories = names.iter().map(|name| {
        let mut directory = b"d".to_vec();
        directory.extend(&name[..name.len().min(LONGEST - 1)]);
        folder.join(OsStr::from_bytes(&directory))
    });
    for directory in [folder.to_owned()].into_iter().chain(directories) {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        for name in &names {
            let file = directory.join(OsStr::from_bytes(name));
            fs::write(&file, "junk").with_context(|| format!("cannot write {}", file.display()))?;
            files += 1;
        }
    }
    Ok(files)
}

/// What a terminal, or a reader of lines, would take for more than text: every control character but the newline,
/// and what changes the direction of writing.
pub fn drives_a_terminal(c: char) -> bool {
    let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    direction || (c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_name_and_no_two_are_one() {
        let home = tempfile::tempdir().unwrap();
        let names = names();
        assert_eq!(fill(home.path()).unwrap(), (names.len() * (names.len() + 1)) as u64);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2 * names.len());
    }
}
