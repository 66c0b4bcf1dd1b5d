//! Where weather comes from: one trait, and a row per provider.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};

use crate::Error;

mod cities;
mod climate;
mod open_meteo;

/// The weather at one place and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// The place that was found, such as `Paris, France`.
    pub place: String,
    /// Air temperature, °C.
    pub temperature: f64,
    /// The sky in words.
    pub condition: &'static str,
    /// Relative humidity, 0..=100 %.
    pub humidity: u8,
    /// When this holds.
    pub time: DateTime<FixedOffset>,
    /// Where the numbers come from, and how far to trust them.
    pub source: &'static str,
}

/// Consecutive days at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The place that was found, such as `Paris, France`.
    pub place: String,
    /// One entry a day, in order of date.
    pub days: Vec<Day>,
    /// Where the numbers come from, and how far to trust them.
    pub source: &'static str,
}

/// One day of a [`Forecast`].
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// The day in the place's own time zone.
    pub date: NaiveDate,
    /// Highest temperature, °C.
    pub high: f64,
    /// Lowest temperature, °C.
    pub low: f64,
    /// The sky in words.
    pub condition: &'static str,
    /// Mean relative humidity, 0..=100 %.
    pub humidity: u8,
    /// Chance of precipitation, 0..=100 %.
    pub precipitation_probability: u8,
}

/// A source of weather.
#[async_trait::async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The weather at `location` at the time `now`.
    ///
    /// # Errors
    /// When the place is unknown or ambiguous, or the source does not answer.
    async fn current(&self, location: &str, now: DateTime<Utc>) -> Result<Current, Error>;

    /// `days` days (1..=16) at `location` from `start`, or from the place's own today.
    ///
    /// # Errors
    /// When the place is unknown or ambiguous, or the source does not answer.
    async fn forecast(
        &self,
        location: &str,
        start: Option<NaiveDate>,
        days: u8,
        now: DateTime<Utc>,
    ) -> Result<Forecast, Error>;
}

/// What the providers are built from.
#[derive(Debug, Clone)]
pub struct ProviderOptions {
    /// Whether anything may leave this network.
    pub external_requests: bool,
    /// Base URL of Open-Meteo's geocoding API.
    pub geocoding_url: String,
    /// Base URL of Open-Meteo's forecast API.
    pub forecast_url: String,
    /// Longest time one HTTP request may take.
    pub timeout: Duration,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        Self {
            external_requests: false,
            geocoding_url: "https://geocoding-api.open-meteo.com".into(),
            forecast_url: "https://api.open-meteo.com".into(),
            timeout: Duration::from_secs(5),
        }
    }
}

/// One provider that can be chosen by name.
#[derive(Debug)]
pub struct ProviderRow {
    /// The name in the configuration.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    build: fn(&ProviderOptions) -> Result<Arc<dyn Provider>, Error>,
}

/// Every provider there is; the first is the default.
pub const PROVIDERS: &[ProviderRow] = &[
    ProviderRow {
        name: "climate",
        about: "monthly climate normals of about 80 cities, embedded: works offline",
        build: |_| Ok(Arc::new(climate::Climate::embedded()?)),
    },
    ProviderRow {
        name: "open-meteo",
        about: "measured and forecast weather of any place, from open-meteo.com",
        build: |settings| Ok(Arc::new(open_meteo::OpenMeteo::new(settings)?)),
    },
];

/// Builds the provider called `name`.
///
/// # Errors
/// When there is no such provider, or the settings do not allow it.
pub fn build(name: &str, settings: &ProviderOptions) -> Result<Arc<dyn Provider>, Error> {
    let Some(row) = PROVIDERS.iter().find(|row| row.name == name) else {
        let names: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
        let given = agentkit::text::shorten(name);
        return Err(Error::InvalidConfig(format!(
            "weather provider {given:?} does not exist: choose one of {}",
            names.join(", ")
        )));
    };
    (row.build)(settings)
}

/// A share as whole percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100"
)]
fn percent(value: f64) -> u8 {
    value.round().clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_provider_is_refused_with_the_names_there_are() {
        let error = build("oracle", &ProviderOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("climate, open-meteo"), "{error}");
    }

    #[test]
    fn every_row_builds_when_external_requests_are_allowed() {
        let settings = ProviderOptions {
            external_requests: true,
            ..ProviderOptions::default()
        };
        for row in PROVIDERS {
            build(row.name, &settings).unwrap();
        }
    }

    #[test]
    fn open_meteo_without_permission_names_the_key() {
        let error = build("open-meteo", &ProviderOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("ALLOW_EXTERNAL_REQUESTS=yes"), "{error}");
    }
}
