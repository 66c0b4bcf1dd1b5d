//! A cron pattern in a time zone.
//!
//! Where the clocks change, cron's usual rule holds. A pattern whose seconds, minutes and hours all
//! are written as numbers means fixed times of the day: one that is skipped comes once, at the
//! moment of the change, and one that is repeated comes once, the first time. Any other pattern
//! means a rhythm: it goes by the clock on the wall, and does not come at what is skipped.

use std::str::FromStr as _;

use chrono::{DateTime, Duration, MappedLocalTime, NaiveDateTime, Offset as _, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::{Cron, errors::CronError};

use crate::Error;

/// No clock is changed by more than a day.
const CHANGE: Duration = Duration::hours(26);

#[derive(Debug)]
pub(super) struct Pattern {
    cron: Cron,
    zone: Tz,
    fixed: bool,
    text: String,
}

impl Pattern {
    pub(super) fn new(text: &str, zone: &str) -> Result<Self, Error> {
        // The parser takes a list with nothing in it, which would be no time at all.
        let mut items = text.split_whitespace().flat_map(|field| field.split(','));
        if items.any(str::is_empty) {
            let reason = format!("{text:?}: a list has an empty place");
            return Err(Error::invalid("cron", reason));
        }
        let cron = Cron::from_str(text).map_err(|error| bad(text, &error))?;
        let zone = Tz::from_str(zone).map_err(|_| {
            let mut known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let near = known.find(|name| name.eq_ignore_ascii_case(zone));
            let hint = near.unwrap_or("Europe/Berlin");
            let reason = format!("{zone:?} is no name of the IANA database such as {hint}");
            Error::invalid("timezone", reason)
        })?;
        Ok(Self {
            cron,
            zone,
            fixed: is_fixed(text),
            text: text.to_owned(),
        })
    }

    /// Whether it means fixed times of the day.
    pub(super) const fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// The first time after `now`, Unix milliseconds; none when it has no further time.
    pub(super) fn after(&self, now: u64) -> Result<Option<u64>, Error> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let now = Utc.timestamp_millis_opt(now).single().unwrap_or_default();
        let found = if self.fixed {
            self.fixed_after(now)
        } else {
            let now = now.with_timezone(&self.zone);
            let found = self.cron.find_next_occurrence(&now, false);
            found.map(|time| time.with_timezone(&Utc))
        };
        match found {
            Ok(time) => Ok(u64::try_from(time.timestamp_millis()).ok()),
            // It looks thousands of years ahead.
            Err(CronError::TimeSearchLimitExceeded | CronError::InvalidTime) => Ok(None),
            Err(error) => Err(bad(&self.text, &error)),
        }
    }

    /// The clock on the wall is followed as if it never changed, and each of its times is read as
    /// the moment when it comes.
    fn fixed_after(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, CronError> {
        let offset = |at: DateTime<Utc>| self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let near = [now - CHANGE, now, now + CHANGE].map(|at| offset(at).local_minus_utc());
        let shift = near.iter().max().unwrap_or(&0) - near.iter().min().unwrap_or(&0);
        let wall = now.with_timezone(&self.zone).naive_local();
        // A later moment may stand before this one on the wall.
        let mut wall = (wall - Duration::seconds(shift.into())).and_utc();
        loop {
            wall = self.cron.find_next_occurrence(&wall, false)?;
            let moment = self.moment(wall.naive_utc());
            if let Some(moment) = moment.filter(|moment| *moment > now) {
                return Ok(moment);
            }
        }
    }

    /// When a time of the wall comes.
    fn moment(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        match self.zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => {
                Some(time.with_timezone(&Utc))
            }
            MappedLocalTime::None => {
                // The change: before it the old offset holds, and after it the new one.
                let (mut low, mut high) = (wall.and_utc() - CHANGE, wall.and_utc() + CHANGE);
                let offset =
                    |at: DateTime<Utc>| self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
                let before = offset(low);
                while high - low > Duration::seconds(1) {
                    let middle = low + (high - low) / 2;
                    if offset(middle) == before {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                // Halving leaves fractions; changes are at whole seconds.
                DateTime::from_timestamp(high.timestamp(), 0)
            }
        }
    }
}

/// Whether no field of the time of day begins with a star, as cron itself asks.
fn is_fixed(pattern: &str) -> bool {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    if let [nickname] = fields.as_slice() {
        return !nickname.eq_ignore_ascii_case("@hourly");
    }
    let of_day = if fields.len() == 5 { 2 } else { 3 };
    let mut of_day = fields.iter().take(of_day);
    of_day.all(|field| !field.starts_with('*'))
}

fn bad(pattern: &str, error: &CronError) -> Error {
    Error::invalid("cron", format!("{pattern:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first times of a pattern after a moment, as UTC.
    fn times(pattern: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let pattern = Pattern::new(pattern, zone).unwrap();
        let from: DateTime<Utc> = from.parse().unwrap();
        let mut at = u64::try_from(from.timestamp_millis()).unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            at = pattern.after(at).unwrap().unwrap();
            let time = Utc.timestamp_millis_opt(i64::try_from(at).unwrap());
            times.push(time.unwrap().format("%m-%dT%H:%M:%S").to_string());
        }
        times
    }

    #[test]
    fn a_pattern_fires_at_its_times_in_its_zone() {
        assert_eq!(
            times("*/5 * * * *", "UTC", "2023-11-14T22:13:20Z", 2),
            ["11-14T22:15:00", "11-14T22:20:00"]
        );
        assert_eq!(
            times("0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", 2),
            ["01-01T03:30:00", "01-02T03:30:00"]
        );
    }

    #[test]
    fn a_skipped_time_comes_once_at_the_change() {
        // On 2026-03-29 at 01:00 UTC the clocks of Berlin go from 02:00 to 03:00.
        let from = "2026-03-28T12:00:00Z";
        for pattern in ["30 2 * * *", "0 2 * * *", "0,30 2 * * *", "15-45 2 * * *"] {
            let first = times(pattern, "Europe/Berlin", from, 1);
            assert_eq!(first, ["03-29T01:00:00"], "{pattern}");
        }
        let two = times("0 2,14 * * *", "Europe/Berlin", from, 3);
        assert_eq!(two, ["03-28T13:00:00", "03-29T01:00:00", "03-29T12:00:00"]);
        // What is due at the change anyway comes once.
        let once = times("0 2,3 * * *", "Europe/Berlin", from, 2);
        assert_eq!(once, ["03-29T01:00:00", "03-30T00:00:00"]);
        // A rhythm goes on, and has nothing to make up for.
        let rhythm = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
        assert_eq!(
            rhythm,
            ["03-29T00:30:00", "03-29T01:00:00", "03-29T01:30:00"]
        );
        let skipped = times("*/30 2 * * *", "Europe/Berlin", from, 1);
        assert_eq!(skipped, ["03-30T00:00:00"]);
    }

    #[test]
    fn a_repeated_time_comes_once_for_fixed_times_and_twice_for_a_rhythm() {
        // On 2026-10-25 at 01:00 UTC the clocks of Berlin go from 03:00 back to 02:00.
        let from = "2026-10-24T12:00:00Z";
        for pattern in ["30 2 * * *", "30 2,4 25 * *", "30 2 * * SUN"] {
            let first = times(pattern, "Europe/Berlin", from, 2);
            assert_eq!(first[0], "10-25T00:30:00", "{pattern}");
            assert_ne!(first[1], "10-25T01:30:00", "{pattern}");
        }
        let again = times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1);
        assert_eq!(again, ["10-26T01:30:00"]);
        let hourly = times("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3);
        assert_eq!(
            hourly,
            ["10-25T00:30:00", "10-25T01:30:00", "10-25T02:30:00"]
        );
    }

    #[test]
    fn odd_changes_of_clocks_are_changes_too() {
        // Lord Howe by half an hour, on 2026-10-03 at 15:30 UTC from 02:00 to 02:30.
        let howe = times(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            2,
        );
        assert_eq!(howe, ["10-03T15:30:00", "10-04T15:15:00"]);
        // Samoa had no 2011-12-30: it went from the 29th to the 31st at 10:00 UTC on the 30th.
        let samoa = times("0 9 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", 2);
        assert_eq!(samoa, ["12-30T10:00:00", "12-30T19:00:00"]);
    }

    #[test]
    fn a_pattern_without_a_further_time_has_none_and_says_so_soon() {
        let begun = std::time::Instant::now();
        for text in ["0 0 30 2 *", "0 0 0 1 1 * 2020", "@yearly"] {
            let pattern = Pattern::new(text, "Europe/Berlin").unwrap();
            let next = pattern.after(1_800_000_000_000).unwrap();
            assert_eq!(next.is_some(), text == "@yearly", "{text}");
        }
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_bad_pattern_or_zone_is_refused_by_its_field() {
        let table = [
            ("61 * * * *", "UTC", "cron"),
            ("* * * *", "UTC", "cron"),
            ("", "UTC", "cron"),
            (", * * * *", "UTC", "cron"),
            ("1,,2 * * * *", "UTC", "cron"),
            ("@fortnightly", "UTC", "cron"),
            ("* * * * *", "Mars/Olympus", "timezone"),
            ("* * * * *", "", "timezone"),
        ];
        for (text, zone, field) in table {
            let error = Pattern::new(text, zone).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn odd_patterns_are_refused_or_asked_soon_and_never_panic() {
        use rand::RngExt as _;
        let words = [
            "*", "*/2", "0", "5", "31", "59", "1-5", "0-59", "L", "5L", "W", "15W", "LW", "1#1",
            "5#5", "?", "+1", "MON", "SUN#L", "FEB", "2030", "7", "29", "30", "*/0", "5/7", "-",
            ",", "é", "@daily",
        ];
        let mut rng = rand::rng();
        let mut slowest = (std::time::Duration::ZERO, String::new());
        for _ in 0..5_000 {
            let count = rng.random_range(4..8);
            let fields = (0..count).map(|_| words[rng.random_range(0..words.len())]);
            let text = fields.collect::<Vec<_>>().join(" ");
            let begun = std::time::Instant::now();
            if let Ok(pattern) = Pattern::new(&text, "America/New_York") {
                drop(pattern.after(1_700_000_000_000));
            }
            slowest = slowest.max((begun.elapsed(), text));
        }
        assert!(slowest.0.as_secs() < 10, "{slowest:?}");
    }
}
