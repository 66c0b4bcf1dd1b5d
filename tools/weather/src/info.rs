//! What the weather tool answers when it is asked what it is.

use proto::agentplatform::{ToolInfo, ToolParameter};
use service::Context;

use crate::operation::{OPERATIONS, PARAMETERS};

pub(crate) fn info(context: &Context) -> ToolInfo {
    let operations: Vec<String> = OPERATIONS
        .iter()
        .map(|row| format!("{}: {}", row.name, row.about))
        .collect();
    let parameters = PARAMETERS.iter().map(|row| ToolParameter {
        name: row.name.to_owned(),
        r#type: row.kind.to_owned(),
        required: row.required,
        description: row.about.to_owned(),
    });
    let use_cases = [
        "Tell the weather in a city now",
        "Decide which of the next days to spend outdoors",
        "Know the usual weather of a season, offline",
    ];
    ToolInfo {
        tool_id: context.public_id(),
        name: "Weather Tool".to_owned(),
        description: "Current weather and forecasts for cities".to_owned(),
        endpoint: context.endpoint.clone(),
        parameters: parameters.collect(),
        detailed_description: format!("Operations: {}.", operations.join("; ")),
        how_it_works: "Asks the configured provider. `climate` knows the monthly climate normals \
            of about 80 cities and tells what is usual on a date: it works offline, invents no \
            measurement, and gives the same answer every time. `open-meteo` asks open-meteo.com \
            for any place."
            .to_owned(),
        return_format: "result is JSON. get_weather: an object of location, place, temperature \
            (°C, or as units say), condition, humidity (%), timestamp (RFC 3339), units, source. \
            get_forecast: an array of day (from 1), date, location, place, temperature, high, \
            low, condition, humidity, precipitation_probability (%), units, source."
            .to_owned(),
        use_cases: use_cases.map(str::to_owned).to_vec(),
        version: context.spec.version.to_owned(),
    }
}
