//! The attacker in the test containers: `attacker ORDER`, an order in JSON.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(order) = std::env::args().nth(1) else { return ExitCode::FAILURE };
    match podsweep_tests::attacker::run(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attacker: {error}");
            ExitCode::FAILURE
        }
    }
}
