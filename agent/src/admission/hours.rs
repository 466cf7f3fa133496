//! `allowedHours` of the node's config: `22:00-06:00`, local time. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;

/// A daily window, from its first minute up to, and without, its last. One that ends before it begins crosses
/// midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

/// A window that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "allowedHours: {text:?} is not a window; write HH:MM-HH:MM, as in \"22:00-06:00\", with two different times"
)]
pub struct HoursError {
    /// What was written.
    pub text: String,
}

impl Window {
    /// Whether sweeps may begin now by these windows; else why not.
    pub fn open_now(windows: &[Self], now: &jiff::Zoned) -> Result<(), String> {
        let time = now.time();
        if open_at(windows, time) {
            return Ok(());
        }
        let shown: Vec<_> = windows.iter().map(ToString::to_string).collect();
        Err(format!("it is {} and allowedHours is {}", time.strftime("%H:%M"), shown.join(", ")))
    }

    /// Whether this time of day lies in it.
    pub fn contains(self, time: Time) -> bool {
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }
}

/// Whether a sweep may begin at this time of day. No windows: always.
pub(super) fn open_at(windows: &[Window], time: Time) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.contains(time))
}

impl FromStr for Window {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let times = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match times {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err(HoursError { text: text.to_owned() }),
        }
    }
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two_digits.then(|| text.parse::<i8>().ok()).flatten()
    };
    // 24:00 is how people write the end of a day; a window up to it ends where the next day begins.
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(window: &str, clock: &str) -> bool {
        window.parse::<Window>().unwrap().contains(time(clock).unwrap())
    }

    #[test]
    fn a_window_within_a_day() {
        assert!(contains("09:00-17:30", "09:00"));
        assert!(contains("09:00-17:30", "17:29"));
        assert!(!contains("09:00-17:30", "17:30"));
        assert!(!contains("09:00-17:30", "08:59"));
    }

    #[test]
    fn a_window_across_midnight() {
        assert!(contains("22:00-06:00", "23:59"));
        assert!(contains("22:00-06:00", "00:00"));
        assert!(!contains("22:00-06:00", "06:00"));
        assert!(!contains("22:00-06:00", "12:00"));
        assert!(contains("22:00-24:00", "23:59"));
        assert!(!contains("22:00-24:00", "00:00"));
    }

    #[test]
    fn what_is_not_a_window_is_an_error_that_shows_how() {
        for text in
            ["", "22:00", "22-06", "25:00-06:00", "22:60-06:00", "06:00-06:00", "+2:00-06:00", "a:b-c:d"]
        {
            let error = text.parse::<Window>().unwrap_err();
            assert!(error.to_string().contains("HH:MM-HH:MM"), "{text}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!("22:00-06:05".parse::<Window>().unwrap().to_string(), "22:00-06:05");
    }

    #[test]
    fn no_windows_are_always_open() {
        assert!(open_at(&[], Time::midnight()));
        let windows = ["01:00-02:00".parse().unwrap(), "03:00-04:00".parse().unwrap()];
        assert!(open_at(&windows, Time::constant(3, 30, 0, 0)));
        assert!(!open_at(&windows, Time::constant(2, 30, 0, 0)));
    }
}
