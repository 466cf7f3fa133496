//! runc, as the containerd of a test's node calls it.

use std::ffi::OsString;
use std::process::ExitCode;

use podsweep_tests::cluster::node_runc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match node_runc::run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("node-runc: {error:#}");
            ExitCode::FAILURE
        }
    }
}
