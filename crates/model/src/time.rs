//! Points in time: integer milliseconds since 1970-01-01T00:00:00Z, as the catalogue stores them.

use std::fmt;

use serde::{Deserialize, Serialize};

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock's present time.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// This time and `millis` more.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The number of the UTC day, counted from the epoch; daily limits are kept by it.
    pub fn day(self) -> i64 {
        self.0.div_euclid(MILLIS_PER_DAY)
    }

    /// `2026-11-24 03:54:00`, in UTC, as the older parts of the API write times.
    pub fn plain(self) -> String {
        self.to_string().trim_end_matches('Z').replace('T', " ")
    }

    /// Reads that form.
    pub fn parse_plain(text: &str) -> Option<Self> {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        Some(Self(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_millisecond()))
    }

    /// The first moment of the next UTC day.
    #[must_use]
    pub fn next_day(self) -> Self {
        Self((self.day() + 1) * MILLIS_PER_DAY)
    }
}

/// `2026-11-24T03:54:00Z`: ISO 8601 in whole seconds, as the API writes times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_times_are_read_as_they_are_written() {
        let time = Timestamp(1_700_000_000_000);
        assert_eq!(time.plain(), "2023-11-14 22:13:20");
        assert_eq!(Timestamp::parse_plain(&time.plain()), Some(time));
        assert_eq!(Timestamp::parse_plain("yesterday"), None);
    }

    #[test]
    fn days_turn_over_at_midnight_utc() {
        let last = Timestamp(MILLIS_PER_DAY - 1);
        assert_eq!((last.day(), last.next_day().day()), (0, 1));
        assert_eq!(last.next_day(), Timestamp(MILLIS_PER_DAY));
    }

    #[test]
    fn text_is_iso_8601_in_seconds() {
        assert_eq!(Timestamp(1_500).to_string(), "1970-01-01T00:00:01Z");
    }
}
