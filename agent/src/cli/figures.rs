//! Figures for people: short, rounded, never read back by a program. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// `831`, `12.4Ki`, `781Mi`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut value, mut unit) = (count as f64, 0);
    // 999.5 rounds to four digits.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$}{}", units[unit])
}

/// `1,234,567`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let grouped = digits.char_indices().map(|(index, digit)| {
        let comma = index > 0 && index % 3 == first;
        if comma { format!(",{digit}") } else { digit.to_string() }
    });
    grouped.collect()
}

/// `850ms`, `4.2s`, `3m12s`, `5h06m`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{:.1}s", time.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Time since an RFC 3339 timestamp: `12s`, `5m`, `3h`, `9d`; the text itself where it is none.
pub(super) fn age(then: &str, now: Timestamp) -> String {
    then.parse()
        .map_or_else(|_| then.to_owned(), |then: Timestamp| rounded(now.as_second() - then.as_second()))
}

/// Time until an RFC 3339 timestamp, likewise.
pub(super) fn time_to(then: &str, now: Timestamp) -> String {
    then.parse()
        .map_or_else(|_| then.to_owned(), |then: Timestamp| rounded(then.as_second() - now.as_second()))
}

fn rounded(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_digits() {
        let shown = [0, 831, 1000, 12_700, 102_400, 819_000_000, u64::MAX].map(bytes);
        assert_eq!(shown, ["0", "831", "1.0Ki", "12.4Ki", "100Ki", "781Mi", "16.0Ei"]);
    }

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(
            [0, 999, 1000, 200_000, 1_234_567].map(count),
            ["0", "999", "1,000", "200,000", "1,234,567"]
        );
    }

    #[test]
    fn durations_keep_two_units_at_most() {
        let shown = [850, 4_200, 192_000, 18_360_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["850ms", "4.2s", "3m12s", "5h06m"]);
    }

    #[test]
    fn an_age_is_one_unit_and_never_negative() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(age("2026-11-21T11:59:48Z", now), "12s");
        assert_eq!(age("2026-11-21T11:00:00+00:00", now), "60m");
        assert_eq!(age("2026-11-19T11:00:00Z", now), "2d");
        assert_eq!(age("2026-11-21T12:00:05Z", now), "0s");
        assert_eq!(age("yesterday", now), "yesterday");
        assert_eq!(time_to("2026-11-21T12:30:00Z", now), "30m");
        assert_eq!(time_to("2026-11-21T11:00:00Z", now), "0s");
    }
}
