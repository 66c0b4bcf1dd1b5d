use serde_json::json;

use super::*;
use crate::{Builtin, ToolDefinition, ToolTarget};

fn tool(name: &str, description: &str, parameter: &str) -> Arc<MeshTool> {
    let definition = ToolDefinition {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: json!({"type": "object", "properties": {
            parameter: {"type": "string", "description": "what is looked up"}}}),
        ..ToolDefinition::default()
    };
    let service = "x".into();
    Arc::new(definition.tool(&service, &service, ToolTarget::Builtin(Builtin::CallTool)))
}

fn tools() -> Vec<Arc<MeshTool>> {
    vec![
        tool("echo-agent", "Repeats what it is told", "input"),
        tool(
            "weather-tool__get_forecast",
            "The weather of the next days",
            "location",
        ),
        tool("weather-tool__get_weather", "The weather now", "location"),
        tool(
            "itinerary-worker",
            "Plans a trip with the weather in mind",
            "destination",
        ),
    ]
}

#[test]
fn the_tool_whose_name_says_it_comes_first() {
    let tools = tools();
    let index = SearchIndex::new(&tools);
    let names = |query: &str| -> Vec<&str> {
        let found = index.search(query, 10, |_| true);
        found
            .into_iter()
            .map(|place| tools[place].name.as_str())
            .collect()
    };
    assert_eq!(names("forecasts")[0], "weather-tool__get_forecast");
    assert_eq!(names("plan trips"), ["itinerary-worker"]);
    assert_eq!(names("weather").len(), 3);
    assert_eq!(names("weath").len(), 3, "the beginning of a word");
    assert_eq!(names("destination"), ["itinerary-worker"], "by a parameter");
    assert_eq!(names("").len(), 4);
    assert!(names("nothing-of-the-kind").is_empty());
}

#[test]
fn a_search_answers_with_the_entries_that_the_caller_may_see() {
    let tools = tools();
    let index = SearchIndex::new(&tools);
    let search = |arguments: Value| {
        let arguments = arguments.as_object().unwrap().clone();
        search_tools(&index, &tools, &arguments, |tool| {
            tool.name != "itinerary-worker"
        })
    };
    let found = search(json!({"query": "weather", "limit": 5}));
    let json: Value = serde_json::from_str(&found.to_json(false)).unwrap();
    let names: Vec<_> = json["structuredContent"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.starts_with("weather-tool__")));
    assert!(
        json["structuredContent"]["tools"][0]["inputSchema"]["properties"]["location"].is_object()
    );
    for wrong in [
        json!({"query": 7}),
        json!({"limit": 0}),
        json!({"limit": 51}),
        json!({"limit": "x"}),
    ] {
        assert!(search(wrong).is_error);
    }
}

#[test]
fn an_index_of_no_tools_finds_none() {
    let index = SearchIndex::new(&[]);
    assert!(index.search("x", 10, |_| true).is_empty());
    assert!(index.search("", 10, |_| true).is_empty());
}
