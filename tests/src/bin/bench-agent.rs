//! `bench-agent [-o json] [--seconds N] [--machine WORDS]`: run by `cargo xtask bench agent`. It starts itself again as
//! each container of the load, and as the peer.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use podsweep_tests::bench_agent;

/// A third of it at rest, 180 bursts in half of it: what two runs of a quiet machine agree on.
const SECONDS: u32 = 180;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["container", folder, cgroup] => bench_agent::be_container(Path::new(folder), Path::new(cgroup)),
        ["peer", reading] => bench_agent::be_peer(reading),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the figures are what the caller asked for")]
fn measure(arguments: &[&str]) -> Result<()> {
    let (mut as_json, mut seconds, mut machine) = (false, SECONDS, String::new());
    let mut rest = arguments;
    loop {
        rest = match rest {
            [] => break,
            ["-o", "json", rest @ ..] => {
                as_json = true;
                rest
            }
            ["--seconds", number, rest @ ..] => {
                seconds = number.parse()?;
                rest
            }
            ["--machine", words, rest @ ..] => {
                (*words).clone_into(&mut machine);
                rest
            }
            _ => bail!("usage: bench-agent [-o json] [--seconds N] [--machine WORDS]"),
        };
    }
    let figures = bench_agent::run(machine, seconds)?;
    let text = if as_json { serde_json::to_string(&figures)? } else { figures.table() };
    println!("{text}");
    Ok(())
}
