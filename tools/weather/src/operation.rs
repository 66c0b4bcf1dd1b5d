//! What the tool can be asked: a row per operation, and the reading of parameters.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use crate::{
    Error,
    error::shorten,
    names::{LONGEST, nearest},
    provider::Provider,
    report::{self, Units},
};

/// The parameters of a call, as they came.
pub type Parameters = HashMap<String, String>;

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// What callers say.
    pub name: &'static str,
    /// What it answers, in a line.
    pub about: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Weather,
    Forecast,
}

/// Every operation there is.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "get_weather",
        about: "the weather at a location now, as a JSON object",
        kind: Kind::Weather,
    },
    Operation {
        name: "get_forecast",
        about: "the weather at a location on the coming days, as a JSON array",
        kind: Kind::Forecast,
    },
];

/// One parameter of the operations.
#[derive(Debug)]
pub struct Parameter {
    /// Its key in the request.
    pub name: &'static str,
    /// Its type in JSON Schema's words.
    pub kind: &'static str,
    /// Whether every call needs it.
    pub required: bool,
    /// What it means and takes.
    pub about: &'static str,
}

/// Every parameter there is.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "location",
        kind: "string",
        required: true,
        about: "a city, alone or with its country: Paris, or San Jose, Costa Rica",
    },
    Parameter {
        name: "units",
        kind: "string",
        required: false,
        about: "celsius (default) or fahrenheit",
    },
    Parameter {
        name: "days",
        kind: "integer",
        required: false,
        about: "get_forecast: how many days, 1 to 16 (default 3)",
    },
    Parameter {
        name: "start_date",
        kind: "string",
        required: false,
        about: "get_forecast: the first day as YYYY-MM-DD (default: today at the location)",
    },
];

const MOST_DAYS: u8 = 16;

/// Carries out the operation called `name` at the time `now`; the answer is JSON text.
///
/// # Errors
/// When the operation or a parameter is not one that is accepted, or the provider has no answer.
pub async fn run(
    provider: &dyn Provider,
    name: &str,
    parameters: &Parameters,
    now: DateTime<Utc>,
) -> Result<String, Error> {
    let Some(operation) = OPERATIONS
        .iter()
        .find(|operation| operation.name == name.trim())
    else {
        return Err(unknown(name));
    };
    let location = location(parameters)?;
    let units = units(parameters)?;
    match operation.kind {
        Kind::Weather => {
            let current = provider.current(location, now).await?;
            json(&report::Weather::new(location, current, units))
        }
        Kind::Forecast => {
            let (start, days) = (start(parameters)?, days(parameters)?);
            let forecast = provider.forecast(location, start, days, now).await?;
            json(&report::days(location, &forecast, units))
        }
    }
}

fn json(answer: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(answer)
        .map_err(|error| Error::Setup(format!("the answer cannot be written as JSON: {error}")))
}

fn unknown(name: &str) -> Error {
    let names = || OPERATIONS.iter().map(|operation| operation.name);
    let hint = match nearest(name, names()).first() {
        Some(near) => format!(": did you mean {near}?"),
        None => format!(": give one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Error::Operation {
        given: shorten(name),
        hint,
    }
}

/// The value of `name`, trimmed; an empty one is as good as none.
fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters
        .get(name)
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn location(parameters: &Parameters) -> Result<&str, Error> {
    let name = "location";
    let missing = Error::Missing {
        name,
        expected: "a city, such as Paris or Paris, France",
    };
    let text = value(parameters, name).ok_or(missing)?;
    if text.chars().count() > LONGEST {
        let expected = format!("a name of at most {LONGEST} characters");
        return Err(Error::Parameter {
            name,
            given: shorten(text),
            expected,
        });
    }
    Ok(text)
}

fn units(parameters: &Parameters) -> Result<Units, Error> {
    let text = value(parameters, "units").unwrap_or_default();
    Units::parse(text).ok_or_else(|| bad("units", text, "celsius or fahrenheit"))
}

fn days(parameters: &Parameters) -> Result<u8, Error> {
    let Some(text) = value(parameters, "days") else {
        return Ok(3);
    };
    let days = text
        .parse()
        .ok()
        .filter(|days| (1..=MOST_DAYS).contains(days));
    days.ok_or_else(|| bad("days", text, "a whole number from 1 to 16"))
}

fn start(parameters: &Parameters) -> Result<Option<NaiveDate>, Error> {
    let Some(text) = value(parameters, "start_date") else {
        return Ok(None);
    };
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    // Four digits: chrono reads years up to 262142, and the days after the last would not exist.
    match date.filter(|_| text.len() == 10) {
        Some(date) => Ok(Some(date)),
        None => Err(bad("start_date", text, "a date as YYYY-MM-DD")),
    }
}

fn bad(name: &'static str, given: &str, expected: &str) -> Error {
    Error::Parameter {
        name,
        given: shorten(given),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::provider::{Settings, build};

    fn call(operation: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        let provider = build("climate", &Settings::default()).unwrap();
        let now = "2026-07-15T12:00:00Z".parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let answer = runtime.block_on(run(&*provider, operation, &parameters, now));
        answer
            .map(|text| serde_json::from_str(&text).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn weather_has_every_key_that_clients_read() {
        let answer = call("get_weather", &[("location", "paris")]).unwrap();
        assert_eq!(answer["location"], "paris");
        assert_eq!(answer["place"], "Paris, France");
        assert!(answer["temperature"].is_f64(), "{answer}");
        assert!(answer["humidity"].is_u64(), "{answer}");
        assert!(answer["condition"].is_string(), "{answer}");
        assert_eq!(answer["timestamp"], "2026-07-15T12:00:00Z");
        assert_eq!(answer["units"], "celsius");
        assert_eq!(
            answer["source"],
            "climate normals (embedded, not a measurement)"
        );
    }

    #[test]
    fn a_forecast_is_three_days_from_today_unless_asked_otherwise() {
        let answer = call("get_forecast", &[("location", "Paris")]).unwrap();
        let days = answer.as_array().unwrap();
        assert_eq!(days.len(), 3);
        assert_eq!(
            (&days[0]["day"], &days[0]["date"]),
            (&1.into(), &"2026-07-15".into())
        );
        for key in [
            "location",
            "temperature",
            "condition",
            "humidity",
            "high",
            "low",
            "precipitation_probability",
            "source",
        ] {
            assert!(!days[2][key].is_null(), "{key}");
        }
        let asked = [
            ("location", "Paris"),
            ("days", "16"),
            ("start_date", "2026-12-24"),
        ];
        let answer = call("get_forecast", &asked).unwrap();
        assert_eq!(answer[15]["date"], "2027-01-08");
        assert_eq!(answer[15]["day"], 16);
    }

    #[test]
    fn fahrenheit_is_the_same_weather_in_other_numbers() {
        let told = |units| {
            let asked = [("location", "Oslo"), ("units", units)];
            call("get_weather", &asked).unwrap()["temperature"]
                .as_f64()
                .unwrap()
        };
        assert!((told("celsius") * 1.8 + 32.0 - told("Fahrenheit")).abs() < 0.2);
    }

    #[test]
    fn every_bad_request_says_what_would_be_accepted() {
        for (operation, parameters, expected) in [
            (
                "get_wether",
                vec![("location", "Paris")],
                "did you mean get_weather?",
            ),
            ("dance", vec![], "give one of get_weather, get_forecast"),
            ("get_weather", vec![], "parameter `location` is missing"),
            (
                "get_weather",
                vec![("location", "  ")],
                "parameter `location` is missing",
            ),
            (
                "get_weather",
                vec![("location", "Lodnon")],
                "did you mean London",
            ),
            (
                "get_weather",
                vec![("location", "Rome"), ("units", "kelvin")],
                "celsius or fahr",
            ),
            (
                "get_forecast",
                vec![("location", "Rome"), ("days", "0")],
                "from 1 to 16",
            ),
            (
                "get_forecast",
                vec![("location", "Rome"), ("days", "17")],
                "from 1 to 16",
            ),
            (
                "get_forecast",
                vec![("location", "Rome"), ("days", "two")],
                "from 1 to 16",
            ),
            (
                "get_forecast",
                vec![("location", "Rome"), ("start_date", "1/2/2026")],
                "YYYY-MM-DD",
            ),
            (
                "get_forecast",
                vec![("location", "Rome"), ("start_date", "2026-02-30")],
                "YYYY-MM-DD",
            ),
        ] {
            let error = call(operation, &parameters).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let endless = "x".repeat(1 << 20);
        let error = call("get_weather", &[("location", &endless)]).unwrap_err();
        assert!(error.len() < 300, "{}", error.len());
    }

    #[test]
    fn the_last_day_of_the_calendar_does_not_end_the_tool() {
        let asked = [
            ("location", "Paris"),
            ("start_date", "9999-12-31"),
            ("days", "16"),
        ];
        assert_eq!(
            call("get_forecast", &asked).unwrap()[15]["date"],
            "+10000-01-15"
        );
    }
}
