//! Triggers under simulated time.

use proptest::prelude::*;

use super::*;
use crate::observe::Kind;
use crate::policy::NodeFree;
use crate::units::{Percent, Span};

fn wall(text: &str) -> Zoned {
    text.parse().unwrap()
}

fn noon() -> Zoned {
    wall("2026-06-01T12:00:00[UTC]")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn burst(creates_per_second: u64, seconds: u64) -> Trigger {
    Trigger::Burst { creates_per_second, r#for: Span::from_secs(seconds) }
}

fn counts(creates: u64, removals: u64) -> Counts {
    [(Kind::Create, creates), (Kind::Unlink, removals)].into_iter().collect()
}

fn creates(creates: u64) -> Counts {
    counts(creates, 0)
}

/// Asks at the given moments until something fires; the total is a function of time (ms).
fn first_fire(
    triggers: &mut Triggers,
    ticks: impl Iterator<Item = u64>,
    total: impl Fn(u64) -> Counts,
) -> Option<(u64, Fired)> {
    ticks
        .map(|now| (now, triggers.tick(ms(now), &noon(), &total(now), None)))
        .find_map(|(now, fired)| Some((now, fired?)))
}

/// Four times a second.
fn quarters(end: u64) -> impl Iterator<Item = u64> {
    (0..end).step_by(250)
}

fn new(trigger: Trigger) -> Triggers {
    Triggers::new(&[trigger], &noon()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A storm that starts at a random phase and keeps a rate of 102 to 10,000 percent of the limit, over quiet background
    /// creates: seen no later than 600 ms after it has lasted `for`, and no earlier
    /// (less what the background's few creates look like: 5 in 100 of a second, and the jitter).
    #[test]
    fn a_storm_is_detected_in_time_and_never_early(
        phase in 2000_u64..2250,
        limit in 100_u64..1000,
        percent in 102_u64..10_000,
        seconds in 1_u64..20,
        background in 0_u64..5,
        jitter in prop::collection::vec(0_u64..20, 120),
    ) {
        let total = |now: u64| {
            let storm = now.saturating_sub(phase) * limit * percent / 100_000;
            creates(5000 + background * now / 1000 + storm)
        };
        let ticks = quarters(30_000).zip(jitter).map(|(tick, late)| tick + late);
        let (at, fired) = first_fire(&mut new(burst(limit, seconds)), ticks, total).expect("detected");
        let due = phase + seconds * 1000;
        prop_assert!(at + 75 >= due, "{} ms early", due - at);
        prop_assert!(at <= due + 600, "{} ms late", at - due);
        let Fired::Burst { creates_per_second, .. } = fired else { panic!("{fired:?}") };
        let speed = (limit * percent) as f64 / 100.0;
        prop_assert!((creates_per_second / speed - 1.0).abs() < 0.35, "{creates_per_second} of {speed}");
    }

    /// Below the limit nothing fires, however the creates are spread within each second.
    #[test]
    fn below_the_limit_nothing_fires(batch in 1_u64..100, every in 1_u64..8, phase in 0_u64..250) {
        // `batch` files every `every` quarters of a second: at most 4 * batch a second, +1 batch for a window's edge.
        let total = |now: u64| creates((now + phase) / (250 * every) * batch);
        let limit = 4 * batch + batch + 1;
        prop_assert_eq!(first_fire(&mut new(burst(limit, 1)), quarters(30_000), total), None);
    }
}

#[test]
fn what_was_there_before_the_first_tick_is_no_burst() {
    assert_eq!(first_fire(&mut new(burst(200, 1)), quarters(10_000), |_| creates(1_000_000)), None);
}

#[test]
fn files_in_batches_are_a_burst_if_every_second_has_enough() {
    let batches = |now: u64| creates(now / 1000 * 300);
    let (at, _) = first_fire(&mut new(burst(200, 5)), quarters(30_000), batches).unwrap();
    assert!((5_750..=6_250).contains(&at), "{at}");
}

#[test]
fn a_gap_starts_the_time_anew() {
    // Three seconds of storm, one and a half of quiet, then storm again: five seconds hold only from 4500 on.
    let total = |now: u64| creates(now.min(3000) + now.saturating_sub(4500));
    let (at, _) = first_fire(&mut new(burst(200, 5)), quarters(30_000), total).unwrap();
    assert!((9_500..=10_100).contains(&at), "{at}");
}

#[test]
fn it_fires_once_until_the_condition_ceased_or_it_is_armed_again() {
    let mut triggers = new(burst(200, 2));
    let storm = creates;
    let (at, _) = first_fire(&mut triggers, quarters(10_000), storm).unwrap();
    assert_eq!(first_fire(&mut triggers, (at + 250..20_000).step_by(250), storm), None);
    triggers.rearm(ms(20_000));
    let (again, _) = first_fire(&mut triggers, (20_000..30_000).step_by(250), storm).unwrap();
    assert_eq!(again, 22_000);
    let quiet = |_| creates(30_000);
    assert_eq!(first_fire(&mut triggers, (30_000..35_000).step_by(250), quiet), None);
    let storm = |now: u64| creates(now - 5_000);
    let (third, _) = first_fire(&mut triggers, (35_000..45_000).step_by(250), storm).unwrap();
    assert!((37_000..=37_600).contains(&third), "{third}");
}

#[test]
fn totals_that_began_anew_are_no_burst_and_no_gap_below_zero() {
    let total = |now: u64| creates(if now < 5000 { 1_000_000 } else { 0 });
    assert_eq!(first_fire(&mut new(burst(1, 1)), quarters(10_000), total), None);
}

#[test]
fn growth_is_net() {
    let growth = Trigger::Growth { files_per_minute: 600, r#for: Span::from_secs(60) };
    // 100 creates a second, and as many removals: a busy service that grows by nothing.
    let even = |now: u64| counts(now / 10, now / 10);
    assert_eq!(first_fire(&mut new(growth.clone()), quarters(300_000), even), None);
    // 20 a second more than it removes: 1200 a minute.
    let uneven = |now: u64| counts(now / 10, now / 10 - now / 50);
    let (at, fired) = first_fire(&mut new(growth), quarters(300_000), uneven).unwrap();
    assert!((60_000..=61_250).contains(&at), "{at}");
    let Fired::Growth { files_per_minute, .. } = fired else { panic!("{fired:?}") };
    assert!((files_per_minute - 1200.0).abs() < 50.0, "{files_per_minute}");
}

#[test]
fn free_space_fires_on_the_way_down_and_never_from_ignorance() {
    let mut triggers = new(Trigger::NodeInodesFree(NodeFree { below: Percent(15.0) }));
    let mut ask = |inodes: Option<f64>| {
        let free = inodes.map(|inodes_percent| Free { inodes_percent, bytes_percent: 0.0 });
        triggers.tick(ms(0), &noon(), &Counts::default(), free).is_some()
    };
    assert_eq!(
        [Some(20.0), Some(15.0), Some(14.9), Some(10.0), None, Some(9.0), Some(16.0), Some(14.0)]
            .map(&mut ask),
        [false, false, true, false, false, false, false, true]
    );
    triggers.rearm(ms(1));
    let free = Some(Free { inodes_percent: 14.0, bytes_percent: 0.0 });
    assert!(triggers.tick(ms(1), &noon(), &Counts::default(), free).is_some());
}

#[test]
fn a_schedule_fires_once_for_each_occurrence_and_once_for_all_that_were_missed() {
    let mut triggers = Triggers::new(&[Trigger::Schedule("*/30 * * * *".into())], &noon()).unwrap();
    let mut ask = |text: &str| triggers.tick(ms(0), &wall(text), &Counts::default(), None).is_some();
    assert!(!ask("2026-06-01T12:29:59.9[UTC]"));
    assert!(ask("2026-06-01T12:30:00.1[UTC]"));
    assert!(!ask("2026-06-01T12:30:00.3[UTC]"));
    // Asleep for three hours.
    assert!(ask("2026-06-01T15:31:00[UTC]"));
    assert!(!ask("2026-06-01T15:31:01[UTC]"));
    // The clock was a day ahead and is set right: the next half hour counts.
    assert!(ask("2026-06-02T12:00:00[UTC]"));
    assert!(!ask("2026-06-01T15:40:00[UTC]"));
    assert!(ask("2026-06-01T16:00:00[UTC]"));
}

#[test]
fn several_at_once_are_one_request() {
    let mut triggers = Triggers::new(&[burst(200, 2), burst(100, 2)], &noon()).unwrap();
    let (at, fired) = first_fire(&mut triggers, quarters(10_000), creates).unwrap();
    assert!(matches!(fired, Fired::Burst { limit: 200, .. }), "{fired:?}");
    assert_eq!(first_fire(&mut triggers, (at + 250..20_000).step_by(250), creates), None);
}

#[test]
fn what_holds_can_be_shown() {
    let mut triggers = new(burst(200, 10));
    assert_eq!(first_fire(&mut triggers, quarters(5_001), creates), None);
    let held = triggers.held();
    assert_eq!((held[0].trigger.as_str(), held[0].limit), ("burst", 200.0));
    assert!((held[0].now.unwrap() - 1000.0).abs() < 1.0);
    assert!(held[0].held.unwrap() >= ms(4_500), "{held:?}");
}
