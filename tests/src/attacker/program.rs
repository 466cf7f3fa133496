//! The program in the container: takes one order, works it off until standard input ends, tells what it counted.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::aim::aim;
use super::bystander::{bystand, hold};
use super::counts::Tally;
use super::flip::{cover, flip, move_away};
use super::order::{Errand, Order};
use super::storm::storm;

/// Between two lines.
const TELL_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at an end, where there is nothing else to do.
const IDLE: Duration = Duration::from_millis(10);

/// The attack's own view: what it counts, and whether it is over.
pub(super) struct Watch<'a> {
    pub(super) tally: Tally,
    over: &'a AtomicBool,
    bystander: &'a Mutex<Tally>,
    told: Instant,
    asked: u32,
}

impl Watch<'_> {
    /// Whether the test has had enough. Tells how far the attack is.
    pub(super) fn is_over(&mut self) -> bool {
        /// A look at the clock costs as much as a swap does.
        const CLOCK_EVERY: u32 = 16;
        self.asked = self.asked.wrapping_add(1);
        if self.asked.is_multiple_of(CLOCK_EVERY) && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.tell();
        }
        self.over.load(Ordering::Relaxed)
    }

    // Nobody listens: then standard input has ended, too, and so will this.
    fn tell(&self) {
        let bystander = self.bystander.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.tally.with(&bystander).tell();
    }
}

/// Works off an order (JSON) until standard input ends: an attacker never outlives its test.
pub fn run(order: &str) -> io::Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let held = hold(&order.bystand)?;
    let (over, meanwhile) = (AtomicBool::new(false), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
        });
        let bystander = scope.spawn(|| {
            let told = |tally: &Tally| {
                tally.clone_into(&mut meanwhile.lock().unwrap_or_else(PoisonError::into_inner))
            };
            bystand(&held, order.supply, &over, &told);
        });
        let tally = Tally::default();
        let mut watch = Watch { tally, over: &over, bystander: &meanwhile, told: Instant::now(), asked: 0 };
        watch.tell();
        work_off(&order.errand, &mut watch);
        // Out of work, but the test still looks.
        while !watch.is_over() {
            thread::sleep(IDLE);
        }
        let _ = bystander.join();
        watch.tally.last = true;
        watch.tell();
    });
    Ok(())
}

fn work_off(errand: &Errand, watch: &mut Watch<'_>) {
    match errand {
        Errand::Flip { pairs } => flip(pairs, watch),
        Errand::Aim { doomed, precious, by } => aim(doomed, precious, *by, watch),
        Errand::MoveAway { from, to } => move_away(from, to, watch),
        Errand::Cover { target, source } => cover(target, source.as_deref(), watch),
        Errand::Storm { below, directories } => storm(below, *directories, watch),
        Errand::Idle => {}
    }
}
