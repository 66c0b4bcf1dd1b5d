//! Climate normals: monthly means, interpolated by date.
//!
//! Nothing here is measured or random: the same place and date always give the same answer.

use std::f64::consts::TAU;

use chrono::{DateTime, Datelike as _, Duration, NaiveDate, Timelike as _, Utc};

use super::{
    cities::{self, City, Months},
    forecast::{Current, Day, Forecast, Provider, percent},
};
use crate::{Error, condition};

const TABLE: &str = include_str!("../../data/climate.tsv");
const SOURCE: &str = "climate normals (embedded, not a measurement)";

/// The embedded normals.
#[derive(Debug)]
pub(super) struct Climate {
    cities: Vec<City>,
}

impl Climate {
    pub(super) fn embedded() -> Result<Self, Error> {
        Ok(Self {
            cities: cities::read(TABLE)?,
        })
    }
}

#[async_trait::async_trait]
impl Provider for Climate {
    async fn current(&self, location: &str, now: DateTime<Utc>) -> Result<Current, Error> {
        let city = cities::find(&self.cities, location)?;
        let local = solar_time(city, now);
        let day = usual_day(city, local.date());
        // A cosine: warmest at three in the afternoon, coldest at three at night.
        let hour = f64::from(local.hour()) + f64::from(local.minute()) / 60.0;
        let swing = (day.high - day.low) / 2.0 * ((hour - 15.0) / 24.0 * TAU).cos();
        Ok(Current {
            place: city.label.clone(),
            temperature: f64::midpoint(day.high, day.low) + swing,
            condition: day.condition,
            humidity: day.humidity,
            time: now.fixed_offset(),
            source: SOURCE,
        })
    }

    async fn forecast(
        &self,
        location: &str,
        start: Option<NaiveDate>,
        days: u8,
        now: DateTime<Utc>,
    ) -> Result<Forecast, Error> {
        let city = cities::find(&self.cities, location)?;
        let start = start.unwrap_or_else(|| solar_time(city, now).date());
        let dates = start.iter_days().take(usize::from(days));
        Ok(Forecast {
            place: city.label.clone(),
            days: dates.map(|date| usual_day(city, date)).collect(),
            source: SOURCE,
        })
    }
}

/// Mean solar time at the city's meridian. It is close enough to local time for the date and the
/// temperature of the hour, and needs no time zone database.
fn solar_time(city: &City, now: DateTime<Utc>) -> chrono::NaiveDateTime {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 43,200 seconds either way"
    )]
    let offset = Duration::seconds((city.longitude * 240.0) as i64);
    now.naive_utc() + offset
}

fn usual_day(city: &City, date: NaiveDate) -> Day {
    let at = |months: &Months| interpolate(months, date);
    let (high, low, humidity) = (at(&city.high), at(&city.low), at(&city.humidity));
    let (wet_days, mm) = (at(&city.wet), at(&city.precipitation));
    let wet = (wet_days / DAYS_A_MONTH).clamp(0.0, 1.0);
    let mean = f64::midpoint(high, low);
    Day {
        date,
        high,
        low,
        condition: condition::from_normals(draw(city, date), wet, mm / wet_days.max(0.5), mean),
        humidity: percent(humidity),
        precipitation_probability: percent(wet * 100.0),
    }
}

const DAYS_A_MONTH: f64 = 30.44;

/// A number in 0..1 for a city and a date: Weyl's sequence, a step of the golden ratio a day.
/// It spreads evenly, so that any month has about as many wet days as its normals say.
fn draw(city: &City, date: NaiveDate) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    // FNV-1a of the name, so that two cities do not have the same wet days.
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let seed = city.label.bytes().fold(0xCBF2_9CE4_8422_2325, step);
    let day = u64::from(date.num_days_from_ce().unsigned_abs());
    let bits = seed.wrapping_add(day.wrapping_mul(GOLDEN)) >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// The value of a month's normals at a date: the middle of a month has its own, and between two middles
/// it changes evenly.
fn interpolate(months: &Months, date: NaiveDate) -> f64 {
    let month = date.month0() as usize;
    let passed = (f64::from(date.day()) - 0.5) / f64::from(date.num_days_in_month());
    let (earlier, later, share) = match passed < 0.5 {
        true => ((month + 11) % 12, month, passed + 0.5),
        false => (month, (month + 1) % 12, passed - 0.5),
    };
    months[earlier] * (1.0 - share) + months[later] * share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climate() -> Climate {
        Climate::embedded().unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_table_has_sixty_sane_cities_each_found_by_its_own_label() {
        let cities = climate().cities;
        assert!(cities.len() >= 60, "{}", cities.len());
        for city in &cities {
            assert_eq!(
                cities::find(&cities, &city.label).unwrap().label,
                city.label
            );
            for month in 0..12 {
                assert!(city.high[month] > city.low[month], "{}", city.label);
                assert!((-40.0..50.0).contains(&city.low[month]), "{}", city.label);
                assert!(
                    (5.0..=100.0).contains(&city.humidity[month]),
                    "{}",
                    city.label
                );
                assert!((0.0..=31.0).contains(&city.wet[month]), "{}", city.label);
                assert!(
                    city.precipitation[month] >= city.wet[month] * 0.5,
                    "{}",
                    city.label
                );
            }
        }
    }

    #[test]
    fn a_city_is_found_whatever_case_accents_and_country_code() {
        let cities = climate().cities;
        for (given, label) in [
            ("paris", "Paris, France"),
            ("Paris, France", "Paris, France"),
            ("PARIS FR", "Paris, France"),
            ("sao paulo", "São Paulo, Brazil"),
            ("München", "Munich, Germany"),
            ("nyc", "New York, United States"),
            ("Boston, MA, USA", "Boston, United States"),
            ("San Jose, CR", "San José, Costa Rica"),
            ("San José, California", "San Jose, United States"),
            ("Washington, D.C.", "Washington, United States"),
        ] {
            assert_eq!(
                cities::find(&cities, given).unwrap().label,
                label,
                "{given}"
            );
        }
    }

    #[test]
    fn a_name_of_two_cities_is_answered_with_both() {
        let error = cities::find(&climate().cities, "San Jose")
            .unwrap_err()
            .to_string();
        assert!(error.contains("San José, Costa Rica"), "{error}");
        assert!(error.contains("San Jose, United States"), "{error}");
    }

    #[test]
    fn an_unknown_place_gets_near_names_never_weather() {
        let cities = climate().cities;
        let told = |given| cities::find(&cities, given).unwrap_err().to_string();
        assert!(told("Lodnon").contains("did you mean London, United Kingdom?"));
        assert!(told("Paris, Texas").contains("did you mean Paris, France?"));
        assert!(told("France").contains("is a country: give a city, such as Paris, France"));
        assert!(told("Atlantis").contains("knows Addis Ababa, Amsterdam"));
    }

    #[test]
    fn the_middle_of_a_month_has_its_normals_and_its_end_lies_between() {
        let city = climate();
        let city = cities::find(&city.cities, "Paris").unwrap();
        let high = |day: &str| usual_day(city, date(day)).high;
        assert!((high("2026-06-15") - 24.0).abs() < 0.1);
        assert!((high("2026-06-30") - 25.0).abs() < 0.1);
        assert!((high("2026-12-31") - 8.0).abs() < 0.1);
    }

    #[test]
    fn a_month_has_about_as_many_wet_days_as_its_normals_say() {
        let climate = climate();
        for city in &climate.cities {
            let start = date("2026-01-01");
            let wet = start.iter_days().take(365).filter(|day| {
                let words = usual_day(city, *day).condition;
                words.contains("rain") || words.contains("snow")
            });
            let (wet, usual) = (wet.count() as f64, city.wet.iter().sum::<f64>());
            assert!(
                (wet - usual).abs() <= 12.0,
                "{}: {wet} of {usual}",
                city.label
            );
        }
    }

    #[tokio::test]
    async fn a_forecast_is_the_same_every_time_and_starts_on_the_places_own_day() {
        let climate = climate();
        let now = "2026-11-21T20:00:00Z".parse().unwrap();
        let first = climate.forecast("Auckland", None, 3, now).await.unwrap();
        assert_eq!(
            first,
            climate.forecast("Auckland", None, 3, now).await.unwrap()
        );
        let dates: Vec<_> = first.days.iter().map(|day| day.date.to_string()).collect();
        assert_eq!(dates, ["2026-11-22", "2026-11-23", "2026-11-24"]);
    }

    #[tokio::test]
    async fn afternoons_are_warmer_than_nights_and_within_the_days_range() {
        let climate = climate();
        let at = |now: &'static str| climate.current("London", now.parse().unwrap());
        let (day, night) = (
            at("2026-07-15T15:00:00Z").await,
            at("2026-07-15T03:00:00Z").await,
        );
        let (day, night) = (day.unwrap().temperature, night.unwrap().temperature);
        assert!(
            day > night + 8.0 && day <= 24.5 && night >= 13.5,
            "{day} {night}"
        );
    }
}
