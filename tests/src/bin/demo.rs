//! `demo [--cluster] [-o json]`: run by `cargo xtask demo`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use podsweep_tests::demo;
use serde::Serialize;

fn main() -> ExitCode {
    match run() {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            for failure in failures {
                eprintln!("failed: {failure}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<String>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (in_cluster, output) = match arguments.as_slice() {
        ["--cluster", output @ ..] => (true, output),
        output => (false, output),
    };
    let as_json = match output {
        [] => false,
        ["-o", "json"] => true,
        _ => bail!("usage: demo [--cluster] [-o json]"),
    };
    if in_cluster {
        let figures = demo::cluster::run(as_json)?;
        print(as_json, &figures)?;
        return Ok(figures.failures());
    }
    let figures = demo::run(as_json)?;
    print(as_json, &figures)?;
    Ok(figures.failures())
}

#[allow(clippy::print_stdout, reason = "the object is what the caller asked for")]
fn print(as_json: bool, figures: &impl Serialize) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(figures)?);
    }
    Ok(())
}
