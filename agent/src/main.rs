//! The program `podsweep`: everything is in the library.

fn main() -> std::process::ExitCode {
    podsweep::cli::main()
}
