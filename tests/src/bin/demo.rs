//! `demo [-o json]`: run by `cargo xtask demo`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use podsweep_tests::demo;

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

#[allow(clippy::print_stdout, reason = "the object is what the caller asked for")]
fn run() -> Result<Vec<String>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let as_json = match arguments[..] {
        [] => false,
        ["-o", "json"] => true,
        _ => bail!("usage: demo [-o json]"),
    };
    let figures = demo::run(as_json)?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(figures.failures())
}
