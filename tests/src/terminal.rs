//! What a person sees of the program on a terminal: script(1) makes one.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::image;

/// What `podsweep` with these words prints on a terminal; its standard error is left out (a spinner redraws there).
/// The words reach it as they are, whatever a shell would make of them.
pub fn on_a_terminal(words: &[&OsStr], variables: &[(&str, &OsStr)]) -> Result<String> {
    let names: Vec<_> = (0..words.len()).map(|number| format!("PODSWEEP_TEST_WORD_{number}")).collect();
    let quoted: Vec<_> = names.iter().map(|name| format!("\"${name}\"")).collect();
    let line = format!("stty -onlcr; exec \"$PODSWEEP_TEST_PROGRAM\" {} 2>/dev/null", quoted.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    script.env("TERM", "xterm").env("PODSWEEP_TEST_PROGRAM", image::program("podsweep")?);
    script.envs(names.iter().zip(words)).envs(variables.iter().copied());
    let output = script.output().context("cannot run script(1)")?;
    let seen = String::from_utf8(output.stdout).context("what is printed is no text")?;
    if !output.status.success() {
        bail!("podsweep {words:?}: {}: {seen:?}", output.status);
    }
    Ok(seen)
}
