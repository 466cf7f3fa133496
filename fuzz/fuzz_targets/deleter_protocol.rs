//! The socket between agent and deleter, with anything in its packets. A deleter is told by its agent alone; whatever
//! it is told, it must end in order, and one that may only look must leave every file where it is.
//!
//! Input: packets, each with its length before it (two bytes, little-endian).

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use podsweep::fuzzing::deleter;

/// Files of the directory that the deleter is shown.
const FILES: [&str; 3] = ["junk", "below/junk", "below/deep/junk"];

/// Made once for the whole run, and used again by the next.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/deleter_protocol"));
    fs::create_dir_all(directory.join("below/deep")).expect("directories");
    for file in FILES {
        fs::write(directory.join(file), "junk").expect("a file");
    }
    directory
});

fuzz_target!(|input: &[u8]| {
    let packets = packets(input);
    let (answers, end) = deleter(&DIRECTORY, &packets);
    assert!(answers.len() <= packets.len() + 1, "more answers than orders");
    if let Err(error) = end {
        assert!(!error.to_string().contains("panicked"), "{error}");
    }
    for file in FILES {
        assert_eq!(fs::read(DIRECTORY.join(file)).expect(file), b"junk");
    }
});

fn packets(mut input: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let (packet, more) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        packets.push(packet);
        input = more;
    }
    // The socket holds some hundred until the deleter reads them.
    packets.truncate(64);
    packets
}
