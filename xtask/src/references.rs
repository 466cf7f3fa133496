//! The references in docs/ and the CRDs in deploy/ that are generated from the code. Each is compared by a test beside the
//! code it shows; that test writes the file again where it is asked to. The rendered manifests are made from the CRDs and
//! come last.

use anyhow::Result;

use crate::command::{cargo, run as run_command, step};
use crate::manifests;

/// Asks the comparing tests to write instead.
const WRITE: &str = "PODSWEEP_BLESS";

/// Runs them. `check`: write nothing, fail where a reference is out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    step(if check { "generated references" } else { "write the generated references" });
    let mut tests = cargo();
    tests.args(["nextest", "run", "--cargo-quiet", "--package", "podsweep", "--no-tests", "warn"]);
    tests.args(["--status-level", "fail", "--final-status-level", "fail", "-E", "test(/reference/)"]);
    if !check {
        tests.env(WRITE, "1");
    }
    run_command(&mut tests)?;
    manifests::run(check)
}
