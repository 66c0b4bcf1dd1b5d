//! The weather that the planner needs, behind a trait: tests plan without a mesh.

use std::{collections::HashMap, fmt};

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::Value;

/// The days of one `get_forecast` answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forecast {
    /// The answer as it came: an array that names its source.
    pub(crate) raw: Value,
    days: HashMap<NaiveDate, Outlook>,
}

/// One day's weather.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The sky in the forecast's words.
    pub(crate) condition: String,
    /// Whether indoor sights are better.
    pub(crate) wet: bool,
}

/// Why there is no forecast, for the reader of the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub String);

/// A source of forecasts.
#[async_trait::async_trait]
pub(crate) trait Forecaster: fmt::Debug + Send + Sync {
    /// The weather in `location` on `days` days from `start`.
    async fn forecast(
        &self,
        location: &str,
        start: NaiveDate,
        days: u8,
    ) -> Result<Forecast, Unavailable>;
}

/// The fields of an element that we read.
#[derive(Deserialize)]
struct Element {
    date: Option<String>,
    #[serde(default)]
    condition: String,
    precipitation_probability: Option<f64>,
}

const WET_WORDS: &[&str] = &[
    "rain", "drizzle", "shower", "snow", "storm", "sleet", "hail",
];
const WET_PERCENT: f64 = 50.0;

impl Forecast {
    /// Reads the JSON array of a `get_forecast` answer.
    pub(crate) fn parse(json: &str) -> Result<Self, Unavailable> {
        let unreadable =
            |error: serde_json::Error| Unavailable(format!("unreadable forecast: {error}"));
        let raw: Value = serde_json::from_str(json).map_err(unreadable)?;
        let elements = Vec::<Element>::deserialize(&raw).map_err(unreadable)?;
        // By date and not by position: a tool without start_date begins on another day.
        let days = elements.into_iter().filter_map(|element| {
            let date = element.date.as_ref()?.parse().ok()?;
            Some((date, element.outlook()))
        });
        Ok(Self {
            days: days.collect(),
            raw,
        })
    }

    /// The weather on `date`; `None` when the forecast does not include it.
    pub(crate) fn on(&self, date: NaiveDate) -> Option<&Outlook> {
        self.days.get(&date)
    }
}

impl Element {
    fn outlook(self) -> Outlook {
        let words = self.condition.to_lowercase();
        let likely = |percent| percent >= WET_PERCENT;
        let wet = WET_WORDS.iter().any(|word| words.contains(word))
            || self.precipitation_probability.is_some_and(likely);
        Outlook {
            condition: self.condition,
            wet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_wet_by_its_words_or_its_probability() {
        let json = r#"[{"day":1,"date":"2026-11-22","condition":"Light Rain"},
            {"day":2,"date":"2026-11-23","condition":"overcast","precipitation_probability":70},
            {"day":3,"date":"2026-11-24","condition":"clear","precipitation_probability":10}]"#;
        let forecast = Forecast::parse(json).unwrap();
        let wet = |date: &str| forecast.on(date.parse().unwrap()).map(|day| day.wet);
        assert_eq!(wet("2026-11-22"), Some(true));
        assert_eq!(wet("2026-11-23"), Some(true));
        assert_eq!(wet("2026-11-24"), Some(false));
        assert_eq!(wet("2026-11-25"), None);
        assert_eq!(forecast.raw.as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn an_answer_that_is_no_forecast_is_unavailable() {
        for json in ["", "{}", "[1]", "sunny"] {
            let error = Forecast::parse(json).unwrap_err().to_string();
            assert!(error.contains("unreadable forecast"), "{error}");
        }
    }
}
