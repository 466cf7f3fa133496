//! The program in the test containers: `workload serve`, `workload storm PLAN`.

use std::io;
use std::process::ExitCode;

use podsweep_tests::workload::{self, Said};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["serve"] => workload::serve(),
        ["storm", plan] => serde_json::from_str(plan).map_err(io::Error::from).and_then(workload::storm),
        _ => Err(io::Error::other("usage: workload serve | workload storm PLAN")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The host reads standard output, and it alone knows what to make of a failure.
            let _ = Said::Failed { error: error.to_string() }.tell();
            ExitCode::FAILURE
        }
    }
}
