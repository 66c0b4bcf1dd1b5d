//! The payloads that clients read, with rounded numbers.

use chrono::SecondsFormat;
use serde::Serialize;

use crate::provider;

/// The scale of temperatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Units {
    /// °C.
    #[default]
    Celsius,
    /// °F.
    Fahrenheit,
}

/// JSON Schema of a [`Weather`].
pub(crate) const WEATHER_SCHEMA: &str = r#"{"type": "object",
    "required": ["location", "place", "temperature", "condition", "humidity", "timestamp", "units", "source"],
    "properties": {
        "location": {"type": "string", "description": "the location as it was asked for"},
        "place": {"type": "string", "description": "the place that was found"},
        "temperature": {"type": "number", "description": "degrees of `units`"},
        "condition": {"type": "string"},
        "humidity": {"type": "integer", "description": "percent"},
        "timestamp": {"type": "string", "description": "RFC 3339"},
        "units": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "source": {"type": "string", "description": "where the numbers are from"}}}"#;

/// JSON Schema of several [`Day`]s.
pub(crate) const FORECAST_SCHEMA: &str = r#"{"type": "array", "items": {"type": "object",
    "required": ["day", "date", "location", "place", "temperature", "high", "low", "condition", "humidity",
        "precipitation_probability", "units", "source"],
    "properties": {
        "day": {"type": "integer", "description": "its number, from 1"},
        "date": {"type": "string", "description": "YYYY-MM-DD"},
        "location": {"type": "string", "description": "the location as it was asked for"},
        "place": {"type": "string", "description": "the place that was found"},
        "temperature": {"type": "number", "description": "the middle of high and low, degrees of `units`"},
        "high": {"type": "number"},
        "low": {"type": "number"},
        "condition": {"type": "string"},
        "humidity": {"type": "integer", "description": "percent"},
        "precipitation_probability": {"type": "integer", "description": "percent"},
        "units": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "source": {"type": "string", "description": "where the numbers are from"}}}}"#;

impl Units {
    /// Reads `celsius` or `fahrenheit`, whatever the case; `C`, `F`, `metric` and `imperial` too.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().trim_start_matches('°') {
            "" | "c" | "celsius" | "metric" => Some(Self::Celsius),
            "f" | "fahrenheit" | "imperial" => Some(Self::Fahrenheit),
            _ => None,
        }
    }

    /// `celsius` degrees in this scale, to a tenth.
    fn convert(self, celsius: f64) -> f64 {
        let degrees = match self {
            Self::Celsius => celsius,
            Self::Fahrenheit => celsius * 1.8 + 32.0,
        };
        // Adding zero turns a rounded -0.0 into 0.0.
        (degrees * 10.0).round() / 10.0 + 0.0
    }
}

/// The answer of `get_weather`.
#[derive(Debug, Serialize)]
pub(crate) struct Weather {
    location: String,
    place: String,
    temperature: f64,
    condition: &'static str,
    humidity: u8,
    timestamp: String,
    units: Units,
    source: &'static str,
}

impl Weather {
    /// `asked` is the location in the caller's words; `place` is what the provider found for it.
    pub(crate) fn new(asked: &str, current: provider::Current, units: Units) -> Self {
        Self {
            location: asked.to_owned(),
            place: current.place,
            temperature: units.convert(current.temperature),
            condition: current.condition,
            humidity: current.humidity,
            timestamp: current.time.to_rfc3339_opts(SecondsFormat::Secs, true),
            units,
            source: current.source,
        }
    }
}

/// One element of the answer of `get_forecast`.
#[derive(Debug, Serialize)]
pub(crate) struct Day {
    day: usize,
    date: String,
    location: String,
    place: String,
    temperature: f64,
    high: f64,
    low: f64,
    condition: &'static str,
    humidity: u8,
    precipitation_probability: u8,
    units: Units,
    source: &'static str,
}

/// The days of `forecast`, counted from 1; `temperature` is the middle of high and low.
pub(crate) fn days(asked: &str, forecast: &provider::Forecast, units: Units) -> Vec<Day> {
    let numbered = (1..).zip(&forecast.days);
    numbered
        .map(|(number, day)| Day {
            day: number,
            date: day.date.to_string(),
            location: asked.to_owned(),
            place: forecast.place.clone(),
            temperature: units.convert(f64::midpoint(day.high, day.low)),
            high: units.convert(day.high),
            low: units.convert(day.low),
            condition: day.condition,
            humidity: day.humidity,
            precipitation_probability: day.precipitation_probability,
            units,
            source: forecast.source,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_told_in_the_scale_that_was_asked_for() {
        assert_eq!(Units::Celsius.convert(21.26), 21.3);
        assert_eq!(Units::Fahrenheit.convert(100.0), 212.0);
        assert!(Units::Celsius.convert(-0.01).is_sign_positive());
        assert_eq!(Units::parse("°F"), Some(Units::Fahrenheit));
        assert_eq!(Units::parse("Celsius"), Some(Units::Celsius));
        assert_eq!(Units::parse("kelvin"), None);
    }
}
