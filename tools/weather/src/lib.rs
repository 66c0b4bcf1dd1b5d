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
use service::{Context, Key, Services, Spec, config::Type};

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
        Key::new(
            "provider",
            Type::Choice(&["climate", "open-meteo"]),
            "climate",
            "source of weather: climate (embedded normals) or open-meteo (HTTP API)",
        )
        .with_env("WEATHER_PROVIDER"),
        Key::bool(
            "allow_external_requests",
            "no",
            "whether anything may be asked over the internet",
        ),
        Key::text(
            "geocoding_url",
            "https://geocoding-api.open-meteo.com",
            "base URL of Open-Meteo's geocoding API",
        )
        .with_env("WEATHER_GEOCODING_URL"),
        Key::text(
            "forecast_url",
            "https://api.open-meteo.com",
            "base URL of Open-Meteo's forecast API",
        )
        .with_env("WEATHER_FORECAST_URL"),
        Key::duration(
            "provider_timeout",
            "5s",
            "longest time for one request to the provider",
        )
        .with_env("WEATHER_PROVIDER_TIMEOUT"),
    ],
    ..agentkit::TOOL
};

/// Builds the service of one instance.
///
/// # Errors
/// When the provider that is configured cannot be used.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let settings = ProviderOptions {
        external_requests: config.bool("allow_external_requests"),
        geocoding_url: config.text("geocoding_url").to_owned(),
        forecast_url: config.text("forecast_url").to_owned(),
        timeout: config.duration("provider_timeout"),
    };
    let provider = provider::build(config.text("provider"), &settings)?;
    let tool = tool::Weather(provider);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
