//! Admission on a host by itself: slots in memory, hours by the host's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::civil::Time;

use super::hours::{self, Window};
use super::slots::{Slots, Ticket};
use super::{Admission, Permit, Request};
use crate::policy::{Reason, Refusal};

/// What the node's config says of admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// Sweeps at a time on this node; 0: none.
    pub slots: u32,
    /// When sweeps may begin, local time; empty: always.
    pub allowed_hours: Vec<Window>,
}

/// The node's own admission.
#[derive(Debug)]
pub struct LocalAdmission {
    slots: Arc<Mutex<Slots>>,
    allowed_hours: Vec<Window>,
}

impl LocalAdmission {
    /// With all slots free.
    pub fn new(settings: LocalSettings) -> Self {
        Self {
            slots: Arc::new(Mutex::new(Slots::new(settings.slots))),
            allowed_hours: settings.allowed_hours,
        }
    }

    /// Sweeps that hold a permit now.
    pub fn running(&self) -> usize {
        lock(&self.slots).running()
    }

    /// Whether a sweep may begin at this time of day.
    pub fn open_now(&self) -> Result<(), Refusal> {
        self.open_at(now())
    }

    /// Whether a slot would be given now; takes none.
    pub fn would_give(&self, request: &Request) -> Result<(), Refusal> {
        lock(&self.slots).judge(request)
    }

    fn open_at(&self, time_of_day: Time) -> Result<(), Refusal> {
        if hours::open_at(&self.allowed_hours, time_of_day) {
            return Ok(());
        }
        let windows: Vec<_> = self.allowed_hours.iter().map(ToString::to_string).collect();
        let message =
            format!("it is {} and allowedHours is {}", time_of_day.strftime("%H:%M"), windows.join(", "));
        Err(Refusal::new(Reason::OutsideHours, message))
    }

    fn ask_at(&self, request: &Request, time_of_day: Time, now: Instant) -> Result<Permit, Refusal> {
        self.open_at(time_of_day)?;
        let ticket = lock(&self.slots).take(request)?;
        Ok(Permit::new(now + request.time, Held { slots: Arc::clone(&self.slots), ticket }))
    }
}

impl Admission for LocalAdmission {
    async fn ask(&self, request: &Request) -> Result<Permit, Refusal> {
        self.ask_at(request, now(), Instant::now())
    }
}

fn now() -> Time {
    jiff::Zoned::now().time()
}

struct Held {
    slots: Arc<Mutex<Slots>>,
    ticket: Ticket,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.slots).give_back(self.ticket);
    }
}

// Slots change in one step each, so a thread that panicked elsewhere leaves them whole.
fn lock(slots: &Mutex<Slots>) -> std::sync::MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request() -> Request {
        Request {
            policy: "p".into(),
            workload: "w".into(),
            namespace: None,
            max_parallel: 1,
            serial_by: vec![],
            time: Duration::from_secs(90),
        }
    }

    fn admission(hours: &str) -> LocalAdmission {
        LocalAdmission::new(LocalSettings { slots: 1, allowed_hours: vec![hours.parse().unwrap()] })
    }

    #[test]
    fn a_dropped_permit_gives_its_slot_back() {
        let admission = admission("00:00-23:59");
        let (noon, now) = (Time::constant(12, 0, 0, 0), Instant::now());
        let permit = admission.ask_at(&request(), noon, now).unwrap();
        assert_eq!(permit.until().now_at(), now + Duration::from_secs(90));
        assert_eq!(admission.ask_at(&request(), noon, now).unwrap_err().reason, "NoSlot");
        drop(permit);
        assert_eq!(admission.running(), 0);
        admission.ask_at(&request(), noon, now).unwrap();
    }

    #[test]
    fn outside_the_hours_nothing_begins() {
        let admission = admission("22:00-06:00");
        let refusal = admission.ask_at(&request(), Time::constant(12, 0, 0, 0), Instant::now()).unwrap_err();
        assert_eq!((refusal.level, refusal.reason.as_str()), (7, "OutsideHours"));
        assert!(refusal.message.contains("22:00-06:00"));
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test]
    async fn asks_by_the_hosts_own_clock() {
        let admission = LocalAdmission::new(LocalSettings { slots: 1, allowed_hours: vec![] });
        let before = Instant::now();
        let permit = admission.ask(&request()).await.unwrap();
        assert!(permit.until().now_at() >= before + request().time);
    }
}
