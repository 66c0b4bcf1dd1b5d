//! The weather tool as its callers see it, over a real socket.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::sync::Arc;

use discovery::backends::Memory;
use proto::agentplatform::{ListToolsRequest, ToolInfo, ToolResponse};
use serde_json::Value;
use service::config::Type;
use testkit::{clients::Tool, local};
use tonic::Code;
use weather_tool::{SPEC, build};

async fn weather() -> Tool {
    Tool::start(&SPEC, build, &[]).await
}

async fn ask(tool: &Tool, operation: &str, parameters: &[(&str, &str)]) -> ToolResponse {
    tool.try_call("s1", operation, parameters).await.unwrap()
}

#[tokio::test]
async fn both_operations_answer_in_json_and_repeat_the_session() {
    let tool = weather().await;
    let answer = ask(&tool, "get_weather", &[("location", "Paris")]).await;
    assert!(
        answer.success && answer.error.is_empty(),
        "{}",
        answer.error
    );
    assert_eq!(answer.session_id, "s1");
    tool.assert_declared("get_weather", &answer.result).await;
    let now: Value = serde_json::from_str(&answer.result).unwrap();
    assert_eq!(
        (&now["location"], &now["place"]),
        (&"Paris".into(), &"Paris, France".into())
    );
    assert!(now["temperature"].is_number() && now["humidity"].is_u64());

    let asked = [("location", "Tokyo, Japan"), ("days", "5")];
    let answer = ask(&tool, "get_forecast", &asked).await;
    tool.assert_declared("get_forecast", &answer.result).await;
    let days: Value = serde_json::from_str(&answer.result).unwrap();
    assert_eq!(days.as_array().unwrap().len(), 5);
    assert_eq!(
        (&days[4]["day"], &days[4]["location"]),
        (&5.into(), &"Tokyo, Japan".into())
    );
    tool.running.drain().await;
}

#[tokio::test]
async fn a_bad_request_is_the_tools_own_answer_not_a_status() {
    let tool = weather().await;
    let answer = ask(&tool, "get_weather", &[("location", "Pariss")]).await;
    assert!(!answer.success && answer.result.is_empty());
    assert_eq!(
        answer.error,
        "unknown location \"Pariss\": did you mean Paris, France?"
    );
    assert_eq!(answer.session_id, "s1");
    tool.running.drain().await;
}

#[tokio::test]
async fn it_lists_itself_with_its_parameters() {
    let Tool {
        running,
        mut client,
    } = weather().await;
    for (filter, count) in [("", 1), ("Weather", 1), ("tool-weather", 1), ("echo", 0)] {
        let request = ListToolsRequest {
            filter: filter.into(),
        };
        let tools = client.list_tools(request).await.unwrap().into_inner().tools;
        assert_eq!(tools.len(), count, "{filter:?}");
        if let Some(tool) = tools.first() {
            assert_eq!(tool.tool_id, "weather-tool");
            assert_eq!(tool.endpoint, running.grpc_addr.to_string());
            let required: Vec<_> = tool
                .parameters
                .iter()
                .filter(|p| p.required)
                .map(|p| &*p.name)
                .collect();
            assert_eq!(required, ["location"]);
            assert!(tool.detailed_description.contains("get_forecast"));
        }
    }
    let status = client.register_tool(ToolInfo::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    running.drain().await;
}

#[tokio::test]
async fn open_meteo_without_permission_does_not_start_and_names_the_key() {
    let provider = ("provider", "open-meteo");
    let config = local::config(&SPEC, &[provider]);
    let refused = service::start(&SPEC, config, Arc::new(Memory::new()), build).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("ALLOW_EXTERNAL_REQUESTS=yes"), "{error}");
    let allowed = [provider, ("allow_external_requests", "yes")];
    let (running, _) = local::start_alone(&SPEC, build, &allowed).await;
    running.drain().await;
}

#[test]
fn the_configuration_offers_every_provider() {
    let key = SPEC
        .all_keys()
        .into_iter()
        .find(|key| key.name == "provider")
        .unwrap();
    let Type::Choice(names) = key.kind else {
        panic!("{:?}", key.kind)
    };
    let rows = weather_tool::provider::PROVIDERS.iter().map(|row| row.name);
    assert!(rows.eq(names.iter().copied()), "{names:?}");
}
