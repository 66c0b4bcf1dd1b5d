//! Open-Meteo: one API finds the coordinates of a name, another their weather.
//!
//! Forms of request and answer: <https://open-meteo.com/en/docs/geocoding-api> and
//! <https://open-meteo.com/en/docs>.

use agentkit::{ApiError, JsonApi, text::shorten};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use fetch::{EgressPolicy, Request};
use serde::de::DeserializeOwned;
use url::Url;

use super::forecast::{Current, Day, Forecast, Provider, percent};
use crate::{Error, WeatherKeys, condition, names::fold};
use answers::{CurrentAnswer, DailyAnswer, GeocodingAnswer, Place};

mod answers;

const SOURCE: &str = "open-meteo.com";
/// Largest answer, bytes. Usual ones are under 10 KiB.
const MAX_BYTES: usize = 256 * 1024;

/// A client of the two APIs.
#[derive(Debug)]
pub(super) struct OpenMeteo {
    api: JsonApi,
    geocoding: Url,
    forecast: Url,
}

impl OpenMeteo {
    /// A client as the keys say. Nothing is sent yet.
    pub(super) fn new(keys: &WeatherKeys, external: bool) -> Result<Self, Error> {
        if !external {
            return Err(Error::InvalidConfig(
                "weather provider open-meteo asks a public API: set ALLOW_EXTERNAL_REQUESTS=yes, \
                 or choose the provider climate"
                    .into(),
            ));
        }
        let geocoding = endpoint(&keys.geocoding_url, "v1/search")?;
        let forecast = endpoint(&keys.forecast_url, "v1/forecast")?;
        // The operator's own addresses of the API may be inside.
        let hosts =
            [&geocoding, &forecast].map(|url| url.host_str().unwrap_or_default().to_owned());
        let policy = EgressPolicy::new(true, &hosts);
        let api = JsonApi::new(policy, keys.provider_timeout, MAX_BYTES, None)
            .map_err(|error| Error::InvalidConfig(error.to_string()))?;
        Ok(Self {
            api,
            geocoding,
            forecast,
        })
    }

    async fn place(&self, location: &str) -> Result<Place, Error> {
        // The API takes a name alone; the part after the comma is compared here.
        let mut parts = location.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let within: Vec<String> = parts.map(fold).filter(|word| !word.is_empty()).collect();
        let query = [
            ("name", name),
            ("count", "20"),
            ("language", "en"),
            ("format", "json"),
        ];
        let found: GeocodingAnswer = self.get(&self.geocoding, &query).await?;
        // The API sorts by relevance and population: the first that fits is meant.
        let is_meant = |place: &&Place| place.lies_within(&within);
        if let Some(place) = found.results.iter().find(is_meant) {
            return Ok(place.clone());
        }
        let labels: Vec<_> = found.results.iter().take(3).map(Place::label).collect();
        let hint = match labels.is_empty() {
            true => ": give a city or a postal code, such as Paris or Paris, France".into(),
            false => format!(": did you mean {}?", labels.join(" or ")),
        };
        Err(Error::Place {
            given: shorten(location),
            hint,
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        url: &Url,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        let mut url = url.clone();
        url.query_pairs_mut().extend_pairs(query);
        Ok(self.api.send(Request::get(url)).await?)
    }
}

fn endpoint(base: &str, path: &str) -> Result<Url, Error> {
    let text = format!("{}/{path}", base.trim_end_matches('/'));
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(Error::InvalidConfig(format!(
            "{base:?} is no base URL for open-meteo: give one such as https://api.open-meteo.com"
        ))),
    }
}

#[async_trait::async_trait]
impl Provider for OpenMeteo {
    async fn current(&self, location: &str, _now: DateTime<Utc>) -> Result<Current, Error> {
        let place = self.place(location).await?;
        let (latitude, longitude) = (place.latitude.to_string(), place.longitude.to_string());
        let query = [
            ("latitude", &*latitude),
            ("longitude", &*longitude),
            (
                "current",
                "temperature_2m,relative_humidity_2m,weather_code",
            ),
            ("timezone", "auto"),
        ];
        let answer: CurrentAnswer = self.get(&self.forecast, &query).await?;
        let time = answer.time().ok_or_else(|| {
            let given = shorten(&answer.current.time);
            ApiError::new(SOURCE, format_args!("unreadable time {given:?}"))
        })?;
        let now = answer.current;
        Ok(Current {
            place: place.label(),
            temperature: now.temperature_2m,
            condition: condition::wmo(now.weather_code),
            humidity: percent(now.relative_humidity_2m),
            time,
            source: SOURCE,
        })
    }

    async fn forecast(
        &self,
        location: &str,
        start: Option<NaiveDate>,
        days: u8,
        _now: DateTime<Utc>,
    ) -> Result<Forecast, Error> {
        let place = self.place(location).await?;
        let (latitude, longitude) = (place.latitude.to_string(), place.longitude.to_string());
        // Without a start the API begins with the place's own today.
        let span = match start {
            None => [
                ("forecast_days", days.to_string()),
                ("past_days", "0".into()),
            ],
            Some(first) => {
                let last = first + TimeDelta::days(i64::from(days) - 1);
                [
                    ("start_date", first.to_string()),
                    ("end_date", last.to_string()),
                ]
            }
        };
        let query = [
            ("latitude", &*latitude),
            ("longitude", &*longitude),
            (
                "daily",
                "weather_code,temperature_2m_max,temperature_2m_min,relative_humidity_2m_mean,\
                 precipitation_probability_max",
            ),
            ("timezone", "auto"),
            (span[0].0, &*span[0].1),
            (span[1].0, &*span[1].1),
        ];
        let answer: DailyAnswer = self.get(&self.forecast, &query).await?;
        let numbers = 0..answer.daily.time.len();
        let days: Option<Vec<Day>> = numbers.map(|index| answer.daily.day(index)).collect();
        let days = days.filter(|days| !days.is_empty()).ok_or_else(|| {
            let problem = "there is no forecast for these days: ask for at most 16 days from today";
            ApiError::new(SOURCE, problem)
        })?;
        Ok(Forecast {
            place: place.label(),
            days,
            source: SOURCE,
        })
    }
}

#[cfg(test)]
mod tests;
