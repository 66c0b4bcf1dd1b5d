//! The fields of Open-Meteo's answers that we read.

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use serde::Deserialize;

use crate::{
    condition,
    names::fold,
    provider::forecast::{Day, percent},
};

#[derive(Deserialize)]
pub(super) struct GeocodingAnswer {
    /// Absent when there are none.
    #[serde(default)]
    pub(super) results: Vec<Place>,
}

#[derive(Clone, Deserialize, Default)]
#[serde(default)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) country: String,
    pub(super) country_code: String,
    pub(super) admin1: String,
    pub(super) admin2: String,
}

impl Place {
    pub(super) fn label(&self) -> String {
        match self.country.as_str() {
            "" => self.name.clone(),
            country => format!("{}, {country}", self.name),
        }
    }

    pub(super) fn lies_within(&self, words: &[String]) -> bool {
        let mine = [
            &self.country,
            &self.country_code,
            &self.admin1,
            &self.admin2,
        ]
        .map(|name| fold(name));
        words.iter().all(|word| mine.contains(word))
    }
}

#[derive(Deserialize)]
pub(super) struct CurrentAnswer {
    pub(super) utc_offset_seconds: i32,
    pub(super) current: Now,
}

impl CurrentAnswer {
    /// `2026-11-21T14:15` with the place's offset from UTC.
    pub(super) fn time(&self) -> Option<DateTime<FixedOffset>> {
        let naive = NaiveDateTime::parse_from_str(&self.current.time, "%Y-%m-%dT%H:%M").ok()?;
        let offset = FixedOffset::east_opt(self.utc_offset_seconds)?;
        naive.and_local_timezone(offset).single()
    }
}

#[derive(Deserialize)]
pub(super) struct Now {
    pub(super) time: String,
    pub(super) temperature_2m: f64,
    pub(super) relative_humidity_2m: f64,
    pub(super) weather_code: u8,
}

#[derive(Deserialize)]
pub(super) struct DailyAnswer {
    pub(super) daily: Daily,
}

/// A column a variable; days beyond a model's reach are null.
#[derive(Deserialize)]
pub(super) struct Daily {
    pub(super) time: Vec<String>,
    pub(super) weather_code: Vec<Option<u8>>,
    pub(super) temperature_2m_max: Vec<Option<f64>>,
    pub(super) temperature_2m_min: Vec<Option<f64>>,
    pub(super) relative_humidity_2m_mean: Vec<Option<f64>>,
    pub(super) precipitation_probability_max: Vec<Option<f64>>,
}

impl Daily {
    /// One day; `None` when a number is missing.
    pub(super) fn day(&self, index: usize) -> Option<Day> {
        let number = |column: &[Option<f64>]| column.get(index).copied().flatten();
        Some(Day {
            date: self.time.get(index)?.parse().ok()?,
            high: number(&self.temperature_2m_max)?,
            low: number(&self.temperature_2m_min)?,
            condition: condition::wmo((*self.weather_code.get(index)?)?),
            humidity: percent(number(&self.relative_humidity_2m_mean)?),
            precipitation_probability: percent(number(&self.precipitation_probability_max)?),
        })
    }
}
