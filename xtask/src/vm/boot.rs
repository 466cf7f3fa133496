//! Runs one guest from its start to its end. In: a machine, and how long it may take. Out: how it ended. Must never
//! wait without a limit, nor leave a QEMU behind.

use std::fs;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::console;
use super::qemu::Machine;

/// A guest comes up in 3 to 6 s of TCG on two idle cores; a busy machine takes several times that.
const UP_WITHIN: Duration = Duration::from_mins(1);
/// Of some 400 boots in TCG, one hung before it came up.
const BOOTS: u32 = 2;
/// How often the console is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// From QEMU's start until the guest was up.
    pub(crate) up_after: Duration,
    /// Until QEMU's end.
    pub(crate) took: Duration,
}

/// Why a guest did not come up.
enum NotUp {
    InTime,
    BecauseItEnded,
}

/// Runs it. A guest that never came up is started once more; one that did is not: what a test met must be seen.
pub(crate) fn run(machine: &Machine, name: &str, limit: Duration) -> Result<Ended> {
    for boot in 1..=BOOTS {
        match once(machine, name, limit)? {
            Ok(ended) => return Ok(ended),
            Err(why) => {
                let why = match why {
                    NotUp::InTime => format!("not up within {} s", UP_WITHIN.as_secs()),
                    NotUp::BecauseItEnded => "ended before it was up".to_owned(),
                };
                eprintln!("{}\n==> {name}: boot {boot} of {BOOTS}: {why}", ending(&machine.console));
            }
        }
    }
    bail!("{name} did not come up; its console is shown above, all of it is in {}", machine.console.display())
}

/// Whether a guest comes up at all within `limit`; says nothing.
pub(crate) fn comes_up(machine: &Machine, limit: Duration) -> Result<bool> {
    let mut qemu = Qemu::start(machine, Stdio::null)?;
    let started = Instant::now();
    while started.elapsed() < limit {
        if console::is_up(&read(&machine.console)) {
            return Ok(true);
        }
        if qemu.has_ended()? {
            return Ok(false);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(false)
}

fn once(machine: &Machine, name: &str, limit: Duration) -> Result<Result<Ended, NotUp>> {
    let started = Instant::now();
    let mut qemu = Qemu::start(machine, Stdio::inherit)?;
    let progress = Progress::new(name);
    let up_after = loop {
        if console::is_up(&read(&machine.console)) {
            break started.elapsed();
        }
        if qemu.has_ended()? {
            return Ok(Err(NotUp::BecauseItEnded));
        }
        if started.elapsed() > UP_WITHIN {
            return Ok(Err(NotUp::InTime));
        }
        progress.show(started.elapsed());
        thread::sleep(LOOK_EVERY);
    };
    drop(progress);
    while !qemu.has_ended()? {
        if started.elapsed() > limit {
            drop(qemu);
            eprintln!("{}", ending(&machine.console));
            bail!(
                "{name} did not end within {} s; its console is shown above, all of it is in {}",
                limit.as_secs(),
                machine.console.display()
            );
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(Ok(Ended { up_after, took: started.elapsed() }))
}

fn ending(file: &Path) -> String {
    console::end(&read(file))
}

/// Firmware writes to it, too: not all is text.
fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// A running QEMU; ended when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(machine: &Machine, output: fn() -> Stdio) -> Result<Self> {
        // What an earlier guest said would look as if this one was up.
        fs::write(&machine.console, "")
            .with_context(|| format!("cannot write {}", machine.console.display()))?;
        let mut command = machine.command();
        let heard = if machine.interactive { Stdio::inherit() } else { Stdio::null() };
        command.stdin(heard).stdout(output()).stderr(output());
        Ok(Self(command.spawn().context("cannot start QEMU")?))
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait().context("cannot wait for QEMU")?.is_some())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line that is written over while the guest boots; nothing where no terminal is.
struct Progress<'a> {
    name: &'a str,
    is_shown: bool,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, is_shown: stderr().is_terminal() }
    }

    fn show(&self, elapsed: Duration) {
        if self.is_shown {
            eprint!("\r==> {} boots: {} s", self.name, elapsed.as_secs());
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
