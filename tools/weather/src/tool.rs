//! The operations of the weather tool.

use std::sync::Arc;

use agentkit::{
    About, InvalidParameter, Invocation, InvocationError, Operation, Parameter, text::shorten,
};
use chrono::{DateTime, Utc};

use crate::{
    Error,
    names::{MAX_NAME, nearest},
    provider::Provider,
    report::{self, Units},
};

pub(crate) const ABOUT: About = About {
    name: "Weather Tool",
    description: "Current weather and forecasts for cities",
    how_it_works: "Asks the configured provider. `climate` knows the monthly climate normals of \
        about 80 cities and tells what is usual on a date: it works offline, invents no \
        measurement, and gives the same answer every time. `open-meteo` asks open-meteo.com for \
        any place.",
    return_format: "result is JSON. get_weather: an object of location, place, temperature (°C, \
        or as units say), condition, humidity (%), timestamp (RFC 3339), units, source. \
        get_forecast: an array of day (from 1), date, location, place, temperature, high, low, \
        condition, humidity, precipitation_probability (%), units, source.",
    use_cases: &[
        "Tell the weather in a city now",
        "Decide which of the next days to spend outdoors",
        "Know the usual weather of a season, offline",
    ],
    operations: &[
        Operation::new(
            "get_weather",
            "the weather at a location now, as a JSON object",
        )
        .taking(&[LOCATION, UNITS])
        .read_only()
        .answering(report::WEATHER_SCHEMA),
        Operation::new(
            "get_forecast",
            "the weather at a location on the coming days, as a JSON array",
        )
        .taking(&[
            LOCATION,
            UNITS,
            Parameter::optional("days", "integer", "how many days, 1 to 16 (default 3)"),
            Parameter::optional(
                "start_date",
                "string",
                "the first day as YYYY-MM-DD (default: today at the location)",
            ),
        ])
        .read_only()
        .answering(report::FORECAST_SCHEMA),
    ],
    ..About::EMPTY
};

const LOCATION: Parameter = Parameter::required(
    "location",
    "string",
    "a city, alone or with its country: Paris, or San Jose, Costa Rica",
);
const UNITS: Parameter = Parameter::optional("units", "string", "celsius (default) or fahrenheit");

/// The tool over a provider.
#[derive(Debug)]
pub(crate) struct Weather(pub(crate) Arc<dyn Provider>);

#[async_trait::async_trait]
impl agentkit::Tool for Weather {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        run(&*self.0, &call, Utc::now()).await
    }
}

impl From<Error> for InvocationError {
    fn from(error: Error) -> Self {
        Self::Rejected(error.to_string())
    }
}

/// Carries out a call at the time `now`. The answer is JSON.
async fn run(
    provider: &dyn Provider,
    call: &Invocation,
    now: DateTime<Utc>,
) -> Result<String, InvocationError> {
    match call.operation.as_str() {
        "get_weather" => {
            let (location, units) = (location(call)?, units(call)?);
            let current = provider.current(location, now).await?;
            Ok(serde_json::to_string(&report::Weather::new(
                location, current, units,
            ))?)
        }
        "get_forecast" => {
            let (location, units) = (location(call)?, units(call)?);
            let start = call.parameters.date("start_date")?;
            let days = call.parameters.integer("days", 1..=16, 3)?;
            let forecast = provider.forecast(location, start, days, now).await?;
            Ok(serde_json::to_string(&report::days(
                location, &forecast, units,
            ))?)
        }
        _ => Err(unknown(call)),
    }
}

fn unknown(call: &Invocation) -> InvocationError {
    let names = ABOUT.operations.iter().map(|operation| operation.name);
    let Some(near) = nearest(&call.operation, names).first().copied() else {
        return call.unknown_operation(&ABOUT);
    };
    let given = shorten(&call.operation);
    InvocationError::Rejected(format!("unknown operation {given:?}: did you mean {near}?"))
}

fn location(call: &Invocation) -> Result<&str, InvalidParameter> {
    let expected = "a city, such as Paris or Paris, France";
    let text = call.parameters.text("location", expected, usize::MAX)?;
    if text.chars().count() > MAX_NAME {
        let expected = format!("a name of at most {MAX_NAME} characters");
        return Err(InvalidParameter::value("location", text, expected));
    }
    Ok(text)
}

fn units(call: &Invocation) -> Result<Units, InvalidParameter> {
    let text = call.parameters.optional("units").unwrap_or_default();
    Units::parse(text)
        .ok_or_else(|| InvalidParameter::value("units", text, "celsius or fahrenheit"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{WeatherKeys, provider::build};

    fn call(operation: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let call = Invocation {
            operation: operation.to_owned(),
            parameters: parameters.iter().copied().collect(),
            ..Invocation::default()
        };
        let provider = build(&WeatherKeys::default(), false).unwrap();
        let now = "2026-07-15T12:00:00Z".parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        match runtime.block_on(run(&*provider, &call, now)) {
            Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
            Err(InvocationError::Rejected(error)) => Err(error),
            Err(InvocationError::Status(status)) => panic!("{status}"),
        }
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
        for (operation, given, expected) in [
            ("get_wether", "location=Paris", "did you mean get_weather?"),
            ("dance", "", "give one of get_weather, get_forecast"),
            ("get_weather", "", "parameter `location` is missing"),
            (
                "get_weather",
                "location=  ",
                "parameter `location` is missing",
            ),
            ("get_weather", "location=Lodnon", "did you mean London"),
            (
                "get_weather",
                "location=Rome&units=kelvin",
                "celsius or fahr",
            ),
            ("get_forecast", "location=Rome&days=0", "from 1 to 16"),
            ("get_forecast", "location=Rome&days=17", "from 1 to 16"),
            ("get_forecast", "location=Rome&days=two", "from 1 to 16"),
            (
                "get_forecast",
                "location=Rome&start_date=1/2/2026",
                "YYYY-MM-DD",
            ),
            (
                "get_forecast",
                "location=Rome&start_date=2026-02-30",
                "YYYY-MM-DD",
            ),
        ] {
            let pairs = given.split('&').filter_map(|pair| pair.split_once('='));
            let error = call(operation, &pairs.collect::<Vec<_>>()).unwrap_err();
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
