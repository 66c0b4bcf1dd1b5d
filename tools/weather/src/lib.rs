//! The weather tool: current weather and forecasts, measured where a provider may be asked over the
//! network, and what is usual for the place and season where not.
//!
//! A call reads `tool` → `operation` → [`provider::Provider`] → the payloads in `report`.

mod condition;
mod error;
mod names;
mod operation;
pub mod provider;
mod report;
mod tool;

use provider::ProviderOptions;
use std::time::Duration;

use config::{duration, keys, text, word};
use service::{Context, Services, Spec};

pub use error::Error;
pub use report::Units;

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
    keys: &[
        service::GRPC,
        &[WeatherKeys::GROUP, fetch::ExternalKeys::GROUP],
    ],
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
    let external = fetch::ExternalKeys::from_config(&context.config);
    let settings = ProviderOptions {
        external_requests: external.allow_external_requests,
        geocoding_url: keys.geocoding_url,
        forecast_url: keys.forecast_url,
        timeout: keys.provider_timeout,
    };
    let provider = provider::build(&keys.provider, &settings)?;
    let tool = tool::Weather(provider);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
