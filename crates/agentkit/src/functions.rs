//! The mesh's tools as functions of a model: what `ListTools` says becomes a schema, a call becomes
//! `ExecuteTool`.

use model::{Functions, wire::Function};
use proto::agentplatform::ToolInfo;
use serde_json::{Map, Value, json};

use crate::{Toolbox, text::clip};

/// Longest result that a model is given, characters.
const LONGEST_RESULT: usize = 16_000;
/// The types of JSON Schema that a parameter may have; any other is a string.
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// The tools of a task that answer, offered to a model.
#[derive(Debug)]
pub struct MeshFunctions<'a> {
    toolbox: &'a Toolbox,
    /// Public ids, in the order of what is offered.
    ids: Vec<String>,
    offered: Vec<Function>,
}

impl<'a> MeshFunctions<'a> {
    /// Asks each tool of the task what it is. One that is away is not offered.
    pub async fn list(toolbox: &'a Toolbox) -> Self {
        let (mut ids, mut offered) = (Vec::new(), Vec::new());
        for id in toolbox.tools() {
            if let Ok(info) = toolbox.describe(id).await {
                offered.push(function(&info));
                ids.push(id.clone());
            }
        }
        Self {
            toolbox,
            ids,
            offered,
        }
    }
}

#[async_trait::async_trait]
impl Functions for MeshFunctions<'_> {
    fn offered(&self) -> &[Function] {
        &self.offered
    }

    async fn call(&self, name: &str, arguments: &str) -> String {
        let position = self
            .offered
            .iter()
            .position(|function| function.name == name);
        let Some(id) = position.and_then(|position| self.ids.get(position)) else {
            return format!("error: there is no function {name:?}");
        };
        let Ok(Value::Object(mut arguments)) = serde_json::from_str(arguments) else {
            return "error: the arguments are not a JSON object".to_owned();
        };
        let operation = arguments.remove("operation").map(text).unwrap_or_default();
        let given = arguments
            .iter()
            .map(|(key, value)| (key.as_str(), text(value.clone())));
        match self.toolbox.call(id, &operation, given).await {
            Ok(result) => clip(&result, LONGEST_RESULT),
            Err(error) => format!("error: {error}"),
        }
    }
}

/// A tool takes texts: `5` and `"5"` are the same to it.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn function(info: &ToolInfo) -> Function {
    let mut properties = Map::new();
    let operation = json!({"type": "string", "description": info.detailed_description});
    properties.insert("operation".to_owned(), operation);
    let mut required = vec!["operation"];
    for parameter in &info.parameters {
        let known = TYPES.iter().find(|kind| **kind == parameter.r#type);
        let kind = known.copied().unwrap_or("string");
        let schema = json!({"type": kind, "description": parameter.description});
        properties.insert(parameter.name.clone(), schema);
        if parameter.required {
            required.push(&parameter.name);
        }
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    Function {
        name: info.tool_id.chars().take(64).map(plain).collect(),
        description: info.description.clone(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

#[cfg(test)]
mod tests {
    use proto::agentplatform::ToolParameter;

    use super::*;

    #[test]
    fn a_tool_becomes_a_function_with_its_operation_and_parameters() {
        let parameter = |name: &str, kind: &str, required| ToolParameter {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            required,
            description: "what".to_owned(),
        };
        let info = ToolInfo {
            tool_id: "docs-tool".to_owned(),
            detailed_description: "Operations: find".to_owned(),
            parameters: vec![
                parameter("limit", "integer", false),
                parameter("q", "int32", true),
            ],
            ..ToolInfo::default()
        };
        let function = function(&info);
        assert_eq!(function.name, "docs_tool");
        let schema = &function.parameters;
        assert_eq!(schema["properties"]["limit"]["type"], "integer");
        assert_eq!(schema["properties"]["q"]["type"], "string");
        assert_eq!(schema["required"], json!(["operation", "q"]));
        assert_eq!(
            schema["properties"]["operation"]["description"],
            "Operations: find"
        );
    }
}
