//! Records a kernel's BTF, cut down to what the hooks ask for, in agent/tests/btf.
//!
//! Comes in: a kernel as a package brings it (vmlinuz, an Image), or its BTF. Goes out: a file for the tests. The BTF is
//! found by its header, as `vmlinuz` of x86 is an ELF file behind a decompressor and that of arm64 no ELF file at all.
//! What is kept of it is decided beside the hooks, by the test that this starts (`agent/src/observe/recorded.rs`).

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, root, run as run_command, step};

/// How compressed data begins, and what takes it from standard input.
const PACKED: [(&[u8], &[&str]); 4] = [
    (b"\x28\xb5\x2f\xfd", &["zstd", "-dcq"]),
    (b"\x02\x21\x4c\x18", &["lz4", "-dcq"]),
    (b"\xfd7zXZ\0", &["xz", "-dcq", "--single-stream"]),
    (b"\x1f\x8b\x08", &["gzip", "-dcq"]),
];

/// How BTF begins: its magic number in little-endian order, version 1, no flags (kernel doc bpf/btf.rst).
const BTF: &[u8] = b"\x9f\xeb\x01\x00";

/// Bytes of the header of that version, at the least.
const HEADER_BYTES: usize = 24;

/// The BTF of a kernel is larger, that of a module or of a program in the image smaller: 5.10 has 2.8 MB.
const KERNEL_BYTES: usize = 1 << 20;

/// Reads `kernel`, writes agent/tests/btf/`name`.btf.
pub(crate) fn run(kernel: &Path, name: &str) -> Result<()> {
    let image = fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let Some(btf) = find_btf(&image).or_else(|| unpacked(&image).find_map(|image| find_btf(&image))) else {
        bail!(
            "{}: no BTF of a kernel in it, nor in what is packed in it; is it built with CONFIG_DEBUG_INFO_BTF, and \
             are zstd, lz4, xz and gzip installed?",
            kernel.display()
        );
    };
    let full = root().join("target/full.btf");
    fs::write(&full, btf).with_context(|| format!("cannot write {}", full.display()))?;
    step(&format!("record {name} from {} bytes of BTF", fs::metadata(&full)?.len()));
    let mut record = cargo();
    record.args(["nextest", "run", "--cargo-quiet", "--package", "podsweep", "--lib"]);
    record.args(["--status-level", "fail", "--final-status-level", "fail"]);
    record.args(["-E", "test(=observe::recorded::what_is_reduced_plans_as_the_whole_does)"]);
    record.env("PODSWEEP_BTF_FULL", &full).env("PODSWEEP_BTF_RECORD", format!("{name}.btf"));
    run_command(&mut record)
}

/// The first BTF in `image` that is large enough to be the kernel's own.
fn find_btf(image: &[u8]) -> Option<Vec<u8>> {
    positions(image, BTF).find_map(|at| {
        let word = |index: usize| -> Option<usize> {
            let start = at + 4 * index;
            let bytes = image.get(start..start + 4)?;
            usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        // Length of the header; start and length of the types, then of the strings.
        let (header, types, strings) = (word(1)?, (word(2)?, word(3)?), (word(4)?, word(5)?));
        let length = header + (types.0 + types.1).max(strings.0 + strings.1);
        let plausible = header >= HEADER_BYTES && types.0 == 0 && length >= KERNEL_BYTES;
        plausible.then(|| image.get(at..at + length)).flatten().map(<[u8]>::to_vec)
    })
}

/// Whatever can be unpacked, from each place that looks like the beginning of it.
fn unpacked(image: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    PACKED.iter().flat_map(move |(magic, unpack)| {
        positions(image, magic).filter_map(move |at| through(unpack, &image[at..]))
    })
}

/// What the command makes of it. It fails on what follows the packed data; what came before that is wanted.
fn through(command: &[&str], data: &[u8]) -> Option<Vec<u8>> {
    let (program, arguments) = command.split_first()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take()?;
    thread::scope(|scope| {
        // It stops reading where the packed data end.
        scope.spawn(move || drop(input.write_all(data)));
        child.wait_with_output().ok().map(|output| output.stdout)
    })
}

fn positions<'a>(data: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    data.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `types` bytes of types and as many of strings.
    fn btf(types: usize) -> Vec<u8> {
        let types = u32::try_from(types).unwrap();
        let mut data = BTF.to_vec();
        data.extend([24, 0, types, types, types].map(u32::to_le_bytes).concat());
        data.resize(24 + 2 * types as usize, 7);
        data
    }

    #[test]
    fn the_kernels_own_is_found_among_smaller_ones_and_chance() {
        let kernel = btf(KERNEL_BYTES);
        let image = [b"\x9f\xeb\x01\x00chance".to_vec(), btf(100), kernel.clone(), b"more".to_vec()].concat();
        assert!(find_btf(&image) == Some(kernel));
        assert!(find_btf(&btf(100)).is_none());
    }

    #[test]
    fn it_is_found_in_a_packed_image_with_something_behind() {
        let kernel = btf(KERNEL_BYTES);
        let packed = through(&["gzip", "-c"], &[b"head".to_vec(), kernel.clone()].concat()).unwrap();
        let image = [b"decompressor".to_vec(), packed, b"signature".to_vec()].concat();
        assert!(find_btf(&image).is_none());
        assert!(unpacked(&image).find_map(|image| find_btf(&image)) == Some(kernel));
    }
}
