//! What providers answer.

use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};

use crate::Error;

/// The weather at one place and time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Current {
    /// The place that was found, such as `Paris, France`.
    pub(crate) place: String,
    /// Air temperature, °C.
    pub(crate) temperature: f64,
    /// The sky in words.
    pub(crate) condition: &'static str,
    /// Relative humidity, 0..=100 %.
    pub(crate) humidity: u8,
    /// When it was measured.
    pub(crate) time: DateTime<FixedOffset>,
    /// The source of the numbers, and how reliable they are.
    pub(crate) source: &'static str,
}

/// Consecutive days at one place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forecast {
    /// The place that was found, such as `Paris, France`.
    pub(crate) place: String,
    /// One entry a day, in order of date.
    pub(crate) days: Vec<Day>,
    /// The source of the numbers, and how reliable they are.
    pub(crate) source: &'static str,
}

/// One day of a [`Forecast`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Day {
    /// The day in the place's own time zone.
    pub(crate) date: NaiveDate,
    /// Highest temperature, °C.
    pub(crate) high: f64,
    /// Lowest temperature, °C.
    pub(crate) low: f64,
    /// The sky in words.
    pub(crate) condition: &'static str,
    /// Mean relative humidity, 0..=100 %.
    pub(crate) humidity: u8,
    /// Chance of precipitation, 0..=100 %.
    pub(crate) precipitation_probability: u8,
}

/// A source of weather.
#[async_trait::async_trait]
pub(crate) trait Provider: fmt::Debug + Send + Sync {
    /// The weather at `location` at the time `now`.
    async fn current(&self, location: &str, now: DateTime<Utc>) -> Result<Current, Error>;

    /// `days` days (1..=16) at `location` from `start`, or from the place's own today.
    async fn forecast(
        &self,
        location: &str,
        start: Option<NaiveDate>,
        days: u8,
        now: DateTime<Utc>,
    ) -> Result<Forecast, Error>;
}

/// A share as whole percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100"
)]
pub(super) fn percent(value: f64) -> u8 {
    value.round().clamp(0.0, 100.0) as u8
}
