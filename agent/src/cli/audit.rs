//! `podsweep history ID --files`: what the audit journal has of one sweep's files.

use anyhow::Context;
use serde_json::Value;

use super::failure::{Ended, Failure};
use super::output::{Format, json_line, line};
use crate::config::Config;
use crate::report::journal::{Audited, files_of};

/// Reads, shows. Line by line: a sweep may have removed a million files.
pub(super) fn run(sweep: &str, config: &Config, format: Format) -> Result<Ended, Failure> {
    let mut found = false;
    let shown = files_of(&config.state, sweep, |file| {
        found = true;
        match format {
            Format::Json => json_line(file),
            Format::Table => line(text(file)),
        }
    });
    shown.with_context(|| format!("audit journal in {}", config.state.display()))?;
    if found {
        return Ok(Ended::Well);
    }
    let why = "none of its files are in the audit journal (it removed none, or they were rotated away)";
    Err(anyhow::anyhow!("sweep {sweep:?}: {why}").into())
}

fn text(file: &Audited) -> String {
    let field = |name| file.line.get(name).map(plain).unwrap_or_default();
    let path = file.line.get("path").map_or_else(|| format!("hex:{}", field("pathHex")), plain);
    format!("{:<16} {:<16} {:>12} {path}", file.result.to_string(), field("rule"), field("size"))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
