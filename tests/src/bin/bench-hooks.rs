//! `bench-hooks [-o json] [--rounds N]`: run by `cargo xtask bench hooks`, here or in a guest.

use anyhow::{Context as _, Result, bail};
use podsweep_tests::bench_hooks::{self, ROUNDS};

#[allow(clippy::print_stdout, reason = "the figures are what the caller asked for")]
fn main() -> Result<()> {
    let (mut as_json, mut rounds) = (false, ROUNDS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next().as_deref()) {
            ("-o", Some("json")) => as_json = true,
            ("--rounds", Some(number)) => rounds = number.parse().context("--rounds takes a number")?,
            _ => bail!("usage: bench-hooks [-o json] [--rounds N]"),
        }
    }
    let figures = bench_hooks::run(rounds)?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", figures.table());
    }
    Ok(())
}
