//! Waiting for other processes: asks again and again until a deadline, never blindly.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two questions: short against everything that is waited for, long against what a question costs.
const PAUSE: Duration = Duration::from_millis(50);

/// The first `Some` that `question` answers. `what` names, in the error, what did not come.
pub fn until<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        sleep(PAUSE);
    }
}

/// The same for a condition.
pub fn until_true(what: &str, limit: Duration, mut question: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(question()?.then_some(())))
}
