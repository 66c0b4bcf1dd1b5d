//! Dates of the proleptic Gregorian calendar as days since 1970-01-01, of any year: services and files
//! send times that a type of date would refuse. After Howard Hinnant's `days_from_civil` and
//! `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
//!
//! ```
//! assert_eq!(mesh_calendar::days_from_civil(1970, 1, 1), 0);
//! assert_eq!(mesh_calendar::days_from_civil(2026, 1, 2), 20_455);
//! assert_eq!(mesh_calendar::civil_from_days(20_455), (2026, 1, 2));
//! ```

/// Days of four hundred years, after which the calendar repeats.
const DAYS_OF_ERA: i64 = 146_097;
/// Days from 0000-03-01, where eras begin, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Days from 1970-01-01 to a date: `year` astronomical (0 is 1 BC) and within ±10¹³, `month` 1 to 12,
/// `day` from 1. A day after the end of its month counts on into the next one.
#[must_use]
pub const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // A year begins in March here, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// Year, month (1 to 12) and day (1 to 31) of the days since 1970-01-01, within ±10¹⁸.
#[must_use]
pub const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (era, of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let after_new_year = if month <= 2 { 1 } else { 0 };
    (year + era * 400 + after_new_year, month, day)
}

/// Days of a month, 28 to 31; `month` 1 to 12.
#[must_use]
pub const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_a_thousand_years_comes_after_the_one_before() {
        let mut days = days_from_civil(1599, 12, 31);
        for year in 1600..2600 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    days += 1;
                    assert_eq!(days_from_civil(year, month, day), days);
                    assert_eq!(civil_from_days(days), (year, month, day));
                }
            }
        }
    }

    #[test]
    fn dates_far_away_come_back() {
        for (days, date) in [
            (-719_528, (0, 1, 1)),
            (-719_162, (1, 1, 1)),
            (2_932_896, (9999, 12, 31)),
            (11_016, (2000, 2, 29)),
        ] {
            assert_eq!(civil_from_days(days), date);
            assert_eq!(days_from_civil(date.0, date.1, date.2), days);
        }
        for days in [i64::MIN / 86_400, i64::MAX / 86_400] {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
