//! The weather tool: current weather and forecasts. With a provider on the network they are measured,
//! else they are what is usual for the place and season.
//!
//! A call goes from `tool` to a [`provider`]; `report` has the payloads.

mod condition;
mod error;
mod names;
pub mod provider;
mod report;
mod tool;

use std::time::Duration;

use config::{duration, keys, text, word};
use error::Error;
use fetch::ExternalKeys;
use service::{Context, Services, Spec};

/// The names, tags, port and keys of the weather tool.
pub const SPEC: Spec = Spec {
    program: "weather-tool",
    service: "tool-weather",
    tags: &["tool", "weather", "data"],
    default_port: 50053,
    about: "The weather tool: current weather and forecasts",
    idempotent: &[
        "agentplatform.ToolService/ExecuteTool",
        "agentplatform.ToolService/ListTools",
    ],
    keys: &[service::GRPC, &[WeatherKeys::GROUP, ExternalKeys::GROUP]],
    ..agentkit::TOOL
};

keys! {
    /// The weather tool.
    #[derive(Clone, Debug)]
    pub(crate) struct WeatherKeys: "Weather tool" {
        /// Source of weather: embedded normals of the climate, or the API of Open-Meteo.
        provider: String = word("climate", &["climate", "open-meteo"], |word| Some(word.to_owned()))
            .env("WEATHER_PROVIDER"),
        /// Base URL of Open-Meteo's geocoding API.
        geocoding_url: String = text("https://geocoding-api.open-meteo.com")
            .env("WEATHER_GEOCODING_URL"),
        /// Base URL of Open-Meteo's forecast API.
        forecast_url: String = text("https://api.open-meteo.com").env("WEATHER_FORECAST_URL"),
        /// Longest time for one request to the provider.
        provider_timeout: Duration = duration("5s")
            .zero("every request fails")
            .env("WEATHER_PROVIDER_TIMEOUT"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// When the provider that is configured cannot be used.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = WeatherKeys::from_config(&context.config);
    let external = ExternalKeys::from_config(&context.config).allow_external_requests;
    let provider = provider::build(&keys, external)?;
    let tool = tool::Weather(provider);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
