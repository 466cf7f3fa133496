//! A cron expression: five fields, in the node's time zone. Pure.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields, or a field out of range.
    #[error(
        "is no cron expression ({0}); write five fields, minute hour day month weekday, like \"*/30 * * * *\""
    )]
    Syntax(String),
    /// Such as the 30th of February.
    #[error("never comes; write a day that exists")]
    Never,
}

/// When a schedule asks.
#[derive(Debug, Clone)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| ScheduleError::Syntax(error.to_string()))?;
        // Any start will do: croner looks far enough ahead for every leap day.
        cron.find_next_occurrence(&jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0), true)
            .map_err(|_| ScheduleError::Never)?;
        Ok(Self(cron))
    }

    /// The first occurrence after a moment; `None` past the end of the calendar.
    pub fn next_after(&self, moment: &Zoned) -> Option<Zoned> {
        self.0.find_next_occurrence(moment, false).ok()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_are_in_the_time_zone_of_the_moment() {
        let moment: Zoned = "2026-03-29T00:10:00+01:00[Europe/Berlin]".parse().unwrap();
        let next = Schedule::parse("30 4 * * *").unwrap().next_after(&moment).unwrap();
        // Clocks go forward in that night: half past four is only 3 h 20 min away.
        assert_eq!(next.to_string(), "2026-03-29T04:30:00+02:00[Europe/Berlin]");
    }

    #[test]
    fn an_occurrence_comes_after_the_moment_not_at_it() {
        let moment: Zoned = "2026-01-01T00:30:00[UTC]".parse().unwrap();
        let next = Schedule::parse("*/30 * * * *").unwrap().next_after(&moment).unwrap();
        assert_eq!(next.to_string(), "2026-01-01T01:00:00+00:00[UTC]");
    }

    #[test]
    fn only_five_fields_that_come_are_accepted() {
        for text in ["", "* * * *", "0 */5 * * * *", "61 * * * *", "x"] {
            assert!(matches!(Schedule::parse(text), Err(ScheduleError::Syntax(_))), "{text:?}");
        }
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap_err(), ScheduleError::Never);
        assert!(Schedule::parse("0 0 29 2 *").is_ok());
    }
}
