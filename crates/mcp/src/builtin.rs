//! The tools that the gateway itself has.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{Annotations, MeshTool, ToolDefinition, ToolResult, ToolTarget};

/// A tool of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// `search_tools`: the tools that match a query, with their schemas.
    SearchTools,
    /// `call_tool`: calls a tool by its name.
    CallTool,
    /// `get_result`: the result of a call that takes long.
    GetResult,
    /// `cancel_result`: ends such a call.
    CancelResult,
}

/// Who has them.
const GATEWAY: &str = "mesh-gateway";

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SearchTools,
        Self::CallTool,
        Self::GetResult,
        Self::CancelResult,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SearchTools => "search_tools",
            Self::CallTool => "call_tool",
            Self::GetResult => "get_result",
            Self::CancelResult => "cancel_result",
        }
    }

    /// The tool of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// As a tool.
    #[must_use]
    pub fn tool(self) -> MeshTool {
        let service: Arc<str> = GATEWAY.into();
        self.definition()
            .tool(&service, &service, ToolTarget::Builtin(self))
    }

    fn definition(self) -> ToolDefinition {
        let job = || json!({"job_id": {"type": "string", "description": "The id that the call answered with"}});
        let (title, description, properties, required) = match self {
            Self::SearchTools => (
                "Search tools",
                "Finds tools of the mesh by what they do. Answers with their names, descriptions and \
                 schemas; call_tool calls them.",
                json!({
                    "query": {"type": "string", "description": "Words, such as weather forecast; none for all"},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 50, "description": "Most tools (default 10)"},
                }),
                json!([]),
            ),
            Self::CallTool => (
                "Call a tool",
                "Calls a tool of the mesh by its name, with arguments as its schema says. search_tools finds \
                 names and schemas.",
                json!({
                    "name": {"type": "string", "description": "The tool's name"},
                    "arguments": {"type": "object", "description": "Its arguments"},
                }),
                json!(["name"]),
            ),
            Self::GetResult => (
                "Get a result",
                "The result of a call that was still running when it answered. Waits for it a while.",
                job(),
                json!(["job_id"]),
            ),
            Self::CancelResult => (
                "Cancel a call",
                "Ends a call that was still running when it answered.",
                job(),
                json!(["job_id"]),
            ),
        };
        let mut schema =
            json!({"type": "object", "properties": properties, "additionalProperties": false});
        if required != json!([]) {
            schema["required"] = required;
        }
        let annotations = match self {
            Self::SearchTools | Self::GetResult => Annotations {
                read_only: Some(true),
                ..Annotations::default()
            },
            Self::CancelResult => Annotations {
                destructive: Some(true),
                idempotent: Some(true),
                ..Annotations::default()
            },
            Self::CallTool => Annotations::default(),
        };
        ToolDefinition {
            name: self.name().to_owned(),
            title: title.to_owned(),
            description: description.to_owned(),
            annotations,
            input_schema: schema,
            ..ToolDefinition::default()
        }
    }
}

/// What `call_tool` is to call.
///
/// # Errors
/// The result that says what is wrong with its arguments.
pub fn called(
    mut arguments: Map<String, Value>,
) -> Result<(String, Map<String, Value>), ToolResult> {
    let refused = |text: &str| Err(ToolResult::error(format!("INVALID_ARGUMENT: {text}")));
    let Some(Value::String(name)) = arguments.remove("name") else {
        return refused("name: give the name of a tool; search_tools finds them");
    };
    let inner = match arguments.remove("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(inner)) => inner,
        // Some models write the object as a text.
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(inner) => inner,
            Err(_) => return refused("arguments: give an object"),
        },
        Some(_) => return refused("arguments: give an object"),
    };
    if let Some(other) = arguments.keys().next() {
        let other = crate::status::cut(other, 100);
        let text = format!("there is no field {other:?}: give name and arguments");
        return refused(&text);
    }
    Ok((name, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_tool_names_a_tool_and_its_arguments() {
        let read = |json: Value| called(json.as_object().unwrap().clone());
        let (name, arguments) = read(json!({"name": "a", "arguments": {"b": 1}})).unwrap();
        assert_eq!((name.as_str(), &arguments["b"]), ("a", &json!(1)));
        let (_, arguments) = read(json!({"name": "a", "arguments": "{\"b\": 1}"})).unwrap();
        assert_eq!(arguments["b"], 1);
        assert!(read(json!({"name": "a"})).unwrap().1.is_empty());
        for wrong in [
            json!({}),
            json!({"name": 1}),
            json!({"name": "a", "arguments": []}),
            json!({"name": "a", "b": 1}),
        ] {
            assert!(read(wrong).unwrap_err().is_error);
        }
    }

    #[test]
    fn every_tool_of_the_gateway_is_found_by_its_name() {
        for builtin in Builtin::ALL {
            let tool = builtin.tool();
            assert_eq!(Builtin::parse(&tool.name), Some(builtin));
            assert_eq!(tool.input_schema()["type"], "object");
        }
    }
}
