//! The command line: one file per command.
//!
//! In: arguments and environment. Out: text or JSON on stdout, progress and errors on stderr, an exit code.
//! Must never: decide what is junk or who may be swept; that is the pipeline's.

mod agent;
mod args;
mod audit;
mod breakers;
mod check;
mod coordinator;
mod doctor;
mod explain;
mod failure;
mod figures;
mod history;
mod interrupt;
mod output;
mod pause;
mod print;
mod progress;
mod reference;
mod scan;
mod settings;
mod status;
mod summary;
mod sweep;

use std::process::ExitCode;

use clap::Parser;

use crate::confinement::Role;
pub use args::Cli;
use args::Command;
use failure::{Ended, Failure};
pub use reference::reference;

/// Parses the arguments, runs the command, maps its end to an exit code.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Badly) => ExitCode::from(failure::FAILED),
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<Ended, Failure> {
    match cli.command {
        // First, and without a runtime: worker and deleter must stay processes of one thread.
        Command::ScanWorker => scan::worker(),
        Command::Deleter => sweep::deleter(),
        Command::Agent(args) => agent::run(&args),
        Command::Coordinator(args) => coordinator::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Scan(args) => wait_confined(scan::run(args)),
        Command::Sweep(args) => wait_confined(sweep::run(args)),
        Command::Explain(args) => wait_confined(explain::run(args)),
        Command::History(args) => wait(history::run(args)),
        Command::Status(args) => wait(status::run(args)),
        Command::Pause(args) => wait(pause::pause(args)),
        Command::Resume(args) => wait(pause::resume(args)),
        Command::Breakers(args) => wait(breakers::run(args)),
    }
}

/// With what an agent keeps and no more. First, because the runtime's threads have what their starter has.
fn wait_confined(command: impl Future<Output = Result<Ended, Failure>>) -> Result<Ended, Failure> {
    Role::Agent.take_on().map_err(anyhow::Error::from)?;
    wait(command)
}

fn wait(command: impl Future<Output = Result<Ended, Failure>>) -> Result<Ended, Failure> {
    // Several threads: a sweep's record is written while its scan is read.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(command)
}
