//! The host's side of an attacker: starts it in a container, hears what it counts, ends it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::counts::Tally;
use super::order::Order;
use crate::container::Container;
use crate::{image, wait};

/// Where the container has it: brought in after the start, as whoever breaks into a container would.
const PROGRAM: &str = "/attacker";
/// runc takes some hundred milliseconds on an idle machine.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// A round of what it does, and the way back.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// An attacker at work. Dropped, it ends: nobody holds its standard input any more.
#[derive(Debug)]
pub struct Attack {
    process: Child,
    orders: Option<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    tally: Option<Tally>,
    /// Lines that are no tally.
    said: String,
}

impl Attack {
    /// Starts it with the container's own capabilities and `more`; waits until it is at work.
    pub fn start(container: &Container, order: &Order, more: &[&str]) -> Result<Self> {
        let program = container.inside(PROGRAM)?;
        if !program.exists() {
            fs::copy(image::program("attacker")?, &program).context("cannot bring the attacker in")?;
        }
        let order = serde_json::to_string(order)?;
        let mut process = container.spawn(&[PROGRAM, &order], more)?;
        let orders = process.stdin.take();
        let heard = Arc::default();
        let output = process.stdout.take().context("no standard output")?;
        let reader = Some(listen(output, Arc::clone(&heard)));
        let attack = Self { process, orders, heard, reader };
        wait::until_true("the attacker is at work", STARTED_WITHIN, || match attack.lock().tally {
            Some(_) => Ok(true),
            None if attack.is_deaf() => bail!("the attacker did not start: {}", attack.lock().said),
            None => Ok(false),
        })?;
        Ok(attack)
    }

    /// What it has counted so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone().unwrap_or_default()
    }

    /// Ends it. Everything that it swapped is in its place again.
    pub fn end(mut self) -> Result<Tally> {
        self.orders = None;
        let process = &mut self.process;
        wait::until_true("the attacker ends", ENDED_WITHIN, || Ok(process.try_wait()?.is_some()))?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let tally = self.tally();
        if !tally.last {
            bail!("the attacker died: {} {tally:?}", self.lock().said);
        }
        Ok(tally)
    }

    fn is_deaf(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.orders = None;
        let process = &mut self.process;
        let ended = wait::until_true("the attacker ends", ENDED_WITHIN, || Ok(process.try_wait()?.is_some()));
        if let Err(error) = ended {
            eprintln!("{error:#}");
            // runc's own process; the attacker goes with its container.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn listen(output: ChildStdout, heard: Arc<Mutex<Heard>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match serde_json::from_str(&line) {
                Ok(tally) => heard.tally = Some(tally),
                Err(_) => heard.said.push_str(&line),
            }
        }
    })
}
