//! `bench-rollout [-o json] [--agents N [--seconds N]] [--machine WORDS]`: run by `cargo xtask bench rollout`. Fails where
//! the cap did not hold.

use std::process::ExitCode;

use anyhow::{Result, bail};
use podsweep_tests::bench_rollout::{self, What};

/// Watches are made again every 290 s: each once, and some.
const IDLE: u32 = 330;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match measure(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: more sweeps ran than there are slots; the figures are above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the cap held.
#[allow(clippy::print_stdout, reason = "the figures are what the caller asked for")]
fn measure(arguments: &[&str]) -> Result<bool> {
    let (mut as_json, mut agents, mut idle, mut machine) = (false, None, IDLE, String::new());
    let mut rest = arguments;
    loop {
        rest = match rest {
            [] => break,
            ["-o", "json", rest @ ..] => {
                as_json = true;
                rest
            }
            ["--agents", number, rest @ ..] => {
                agents = Some(number.parse()?);
                rest
            }
            ["--seconds", number, rest @ ..] => {
                idle = number.parse()?;
                rest
            }
            ["--machine", words, rest @ ..] => {
                (*words).clone_into(&mut machine);
                rest
            }
            _ => bail!("usage: bench-rollout [-o json] [--agents N [--seconds N]] [--machine WORDS]"),
        };
    }
    let what = agents.map_or(What::Simulation, |agents| What::Agents { agents, idle });
    let figures = bench_rollout::run(machine, what)?;
    let text = if as_json { serde_json::to_string(&figures)? } else { figures.table() };
    println!("{text}");
    Ok(figures.cap_held())
}
