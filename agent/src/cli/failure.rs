//! How a command ends: exit codes, and the one line that an error shows.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::control::ClientError;

/// The command failed, or somebody said no.
pub(super) const FAILED: u8 = 1;

/// Wrong arguments (clap's own code), or a file that is not what it should be.
const BAD_INPUT: u8 = 2;

/// What shells report for a program that SIGPIPE ended: 128 and the signal's number.
const BROKEN_PIPE: u8 = 128 + 13;

/// A command that ran to its end and has shown its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As asked: exit code 0.
    Well,
    /// The result itself is a refusal or a failure: exit code 1.
    Badly,
}

impl Ended {
    pub(super) fn well_if(good: bool) -> Self {
        if good { Self::Well } else { Self::Badly }
    }
}

/// A command that could not run to its end.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The caller's input is at fault: exit code 2.
    pub(super) fn input(error: impl Into<anyhow::Error>) -> Self {
        Self { code: BAD_INPUT, error: error.into() }
    }

    /// Prints the error in one line (what failed, then why), and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        if self.is_broken_pipe() {
            // `podsweep history | head`: the reader has what it wants, so nothing is said. Never 0: the reader of
            // `podsweep check` may leave before the verdict.
            return ExitCode::from(BROKEN_PIPE);
        }
        // Nobody reads stderr: the exit code must do.
        let _ = writeln!(std::io::stderr(), "podsweep: {}", self.line());
        ExitCode::from(self.code)
    }

    // Most errors name their cause themselves; only what is not yet said is added.
    fn line(&self) -> String {
        self.error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line.as_str() {
            "" => cause,
            said if said.contains(&cause) => line,
            said => format!("{said}: {cause}"),
        })
    }

    fn is_broken_pipe(&self) -> bool {
        self.error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|error| error.kind() == ErrorKind::BrokenPipe)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // 400 and 422: the agent cannot make sense of what it was sent.
        let bad_input =
            matches!(&error, ClientError::Problem(problem) if matches!(problem.status, 400 | 422));
        Self { code: if bad_input { BAD_INPUT } else { FAILED }, error: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Problem;

    #[test]
    fn a_reader_that_left_is_told_from_a_failure() {
        let failure =
            Failure::from(anyhow::Error::from(std::io::Error::from(ErrorKind::BrokenPipe)).context("print"));
        assert!(failure.is_broken_pipe());
        assert!(!Failure::from(std::io::Error::from(ErrorKind::NotFound)).is_broken_pipe());
    }

    #[test]
    fn every_cause_is_said_once() {
        let cause = || std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(cause()).context("cannot read \"x\"");
        assert_eq!(Failure::from(error).line(), "cannot read \"x\": No such file or directory (os error 2)");
        let error = ClientError::NoAgent { socket: "/s".into(), source: cause() };
        assert_eq!(Failure::from(error).line().matches("No such file").count(), 1);
    }

    #[test]
    fn the_agents_no_is_1_and_a_senseless_request_is_2() {
        let problem = |status: u16| {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            Failure::from(ClientError::Problem(Problem::new(status, "Word", "detail"))).code
        };
        assert_eq!([problem(409), problem(404), problem(422), problem(400)], [1, 1, 2, 2]);
    }
}
