//! The program in the test containers that has files in use: `holder HOW:PATH …`.

use std::process::ExitCode;

use podsweep_tests::holding::hold;

fn main() -> ExitCode {
    match hold(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holder: {error}");
            ExitCode::FAILURE
        }
    }
}
