//! `bench-hooks [-o json]`: run by `cargo xtask bench hooks`.

use anyhow::{Result, bail};
use podsweep_tests::bench_hooks;

#[allow(clippy::print_stdout, reason = "the figures are what the caller asked for")]
fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let as_json = match arguments[..] {
        [] => false,
        ["-o", "json"] => true,
        _ => bail!("usage: bench-hooks [-o json]"),
    };
    let figures = bench_hooks::run()?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", figures.table());
    }
    Ok(())
}
