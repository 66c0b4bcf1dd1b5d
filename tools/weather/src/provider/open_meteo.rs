//! Open-Meteo: a name becomes coordinates, coordinates become weather.
//!
//! Forms of request and answer: <https://open-meteo.com/en/docs/geocoding-api> and
//! <https://open-meteo.com/en/docs>.

use agentkit::text::shorten;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use reqwest::Url;
use serde::de::DeserializeOwned;

use super::{Current, Day, Forecast, Provider, ProviderOptions, percent};
use crate::{Error, condition, names::fold};
use answers::{ApiError, CurrentAnswer, DailyAnswer, GeocodingAnswer, Place};

mod answers;

const SOURCE: &str = "open-meteo.com";
/// Largest answer, bytes. Usual ones are under 10 KiB.
const MAX_BYTES: usize = 256 * 1024;

/// A client of the two APIs.
#[derive(Debug)]
pub(super) struct OpenMeteo {
    http: reqwest::Client,
    geocoding: Url,
    forecast: Url,
}

impl OpenMeteo {
    /// Checks the options; nothing is sent.
    pub(super) fn new(settings: &ProviderOptions) -> Result<Self, Error> {
        if !settings.external_requests {
            return Err(Error::InvalidConfig(
                "weather provider open-meteo asks a public API: set ALLOW_EXTERNAL_REQUESTS=yes, \
                 or choose the provider climate"
                    .into(),
            ));
        }
        // Neither redirects nor a proxy of the environment: the configured hosts and no others.
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("weather-tool/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Error::InvalidConfig(format!("the HTTP client cannot be built: {error}"))
            })?;
        Ok(Self {
            http,
            geocoding: endpoint(&settings.geocoding_url, "v1/search")?,
            forecast: endpoint(&settings.forecast_url, "v1/forecast")?,
        })
    }

    async fn place(&self, location: &str) -> Result<Place, Error> {
        // The API takes a bare name; what follows the comma is for us to compare.
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
        // The API ranks by relevance and population, so the first that fits is the one meant.
        match found
            .results
            .iter()
            .position(|place| place.lies_within(&within))
        {
            Some(first) => Ok(found.results.into_iter().nth(first).unwrap_or_default()),
            None => {
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
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        url: &Url,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let fail = |problem: String| Error::Upstream {
            host: host.clone(),
            problem,
        };
        let lost = |error: reqwest::Error| match error.is_timeout() {
            true => fail("no answer in time".into()),
            false => fail(error.without_url().to_string()),
        };
        let mut url = url.clone();
        url.query_pairs_mut().extend_pairs(query);
        let mut response = self.http.get(url).send().await.map_err(lost)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(fail(format!("the answer is larger than {MAX_BYTES} bytes")));
            }
        }
        if !status.is_success() {
            let said = serde_json::from_slice(&body).map(|ApiError { reason }| shorten(&reason));
            return Err(fail(format!("HTTP {status}: {}", said.unwrap_or_default())));
        }
        serde_json::from_slice(&body).map_err(|error| fail(format!("unreadable answer: {error}")))
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
        let time = answer.time().ok_or_else(|| Error::Upstream {
            host: SOURCE.into(),
            problem: format!("unreadable time {:?}", shorten(&answer.current.time)),
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
        let days: Option<Vec<Day>> = (0..answer.daily.time.len())
            .map(|index| answer.daily.day(index))
            .collect();
        let days = days
            .filter(|days| !days.is_empty())
            .ok_or_else(|| Error::Upstream {
                host: SOURCE.into(),
                problem: "there is no forecast for these days: ask for at most 16 days from today"
                    .into(),
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
