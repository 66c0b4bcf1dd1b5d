//! What an AI editor sees of the mesh.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::calls::Step;
use crate::{
    local::LocalMesh,
    mcp::{Endpoint, Era, McpClient},
};

/// Lists the tools and calls one, as an editor does by the gateway's URL.
pub(super) async fn list_and_call(local: &LocalMesh) -> anyhow::Result<[Step; 2]> {
    let gateway = local.gateway().context("the demo has a gateway")?;
    let endpoint = Endpoint::at(&format!("http://{gateway}/mcp"))?;
    let mut client = McpClient::connect(endpoint, Era::Auto, ()).await?;
    let tools = client.tools().await.context("tools/list")?;
    let names: Vec<_> = tools.iter().filter_map(|it| it["name"].as_str()).collect();
    let listed = Step {
        call: "tools/list",
        answered_by: "(gateway)".to_owned(),
        what: names.join(", "),
    };
    let weather = tools.iter().find(|tool| {
        let name = tool["name"].as_str();
        name.is_some_and(|name| name.starts_with("weather-tool"))
    });
    let weather = weather.with_context(|| format!("no weather among {names:?}"))?;
    let params = json!({"name": weather["name"], "arguments": {"location": "Paris"}});
    let result = client.call(weather, params).await.context("tools/call")?;
    client.close().await;
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    ensure!(result["isError"] != true, "the tool failed: {text}");
    let weather: Value = serde_json::from_str(text).unwrap_or_default();
    let what = match (&weather["location"], &weather["temperature"]) {
        (Value::String(location), temperature) if temperature.is_number() => {
            format!("{location}: {temperature} °C")
        }
        _ => crate::output::plain(text).replace('\n', " "),
    };
    let instance = result["_meta"]["mesh.v1/instance"].as_str();
    let called = Step {
        call: "tools/call",
        answered_by: instance.unwrap_or("(gateway)").to_owned(),
        what,
    };
    Ok([listed, called])
}
