//! What the weather tool says of itself, and the tool over its provider.

use std::sync::Arc;

use agentkit::{About, Invocation, InvocationError, Operation, Parameter};
use chrono::Utc;

use crate::{Error, operation, provider::Provider};

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
        ),
        Operation::new(
            "get_forecast",
            "the weather at a location on the coming days, as a JSON array",
        ),
    ],
    parameters: &[
        Parameter::required(
            "location",
            "string",
            "a city, alone or with its country: Paris, or San Jose, Costa Rica",
        ),
        Parameter::optional("units", "string", "celsius (default) or fahrenheit"),
        Parameter::optional(
            "days",
            "integer",
            "get_forecast: how many days, 1 to 16 (default 3)",
        ),
        Parameter::optional(
            "start_date",
            "string",
            "get_forecast: the first day as YYYY-MM-DD (default: today at the location)",
        ),
    ],
    ..About::EMPTY
};

/// The tool over a provider.
#[derive(Debug)]
pub(crate) struct Weather(pub(crate) Arc<dyn Provider>);

#[async_trait::async_trait]
impl agentkit::Tool for Weather {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        operation::run(&*self.0, &call, Utc::now()).await
    }
}

impl From<Error> for InvocationError {
    fn from(error: Error) -> Self {
        Self::Rejected(error.to_string())
    }
}
