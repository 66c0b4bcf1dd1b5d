//! The mesh's tools as functions of a model: a tool's description becomes a schema, and a call becomes
//! `ExecuteTool`. A model may follow instructions in a document, so it gets only what its step needs:
//! of the platform's own tools the operations that read. The pipeline writes what a step writes.

use model::{Functions, wire::Function};
use proto::agentplatform::{ToolInfo, ToolParameter};
use serde_json::{Value, json};

use crate::{
    Toolbox,
    about::list,
    schema::parameters_schema,
    text::{shorten, truncate},
};

/// Longest result that a model is given, characters.
const MAX_RESULT: usize = 16_000;

/// What a model may call of one of the platform's own tools.
struct Grant {
    /// Consul name of the tool.
    tool: &'static str,
    /// The operations, and what they do.
    operations: &'static [(&'static str, &'static str)],
    /// The parameters that those take.
    parameters: &'static [&'static str],
}

/// The platform's own tools. A model may call everything of another tool: the task names it.
const GRANTS: &[Grant] = &[
    Grant {
        tool: "tool-docs",
        operations: &[
            ("search_local_docs", "the passages that match `query` best"),
            ("read_local_doc", "lines of the document `file`"),
        ],
        parameters: &["query", "limit", "kind", "file", "line", "end_line"],
    },
    Grant {
        tool: "tool-fs",
        operations: &[
            ("file_read_safe", "the content of the run's file at `path`"),
            ("file_list", "the files of the run"),
        ],
        parameters: &["path"],
    },
    Grant {
        tool: "tool-web",
        operations: &[("web_search", "pages of the web that match `query`")],
        parameters: &["query", "limit"],
    },
];

/// What no model may call of any tool, in small letters: `fs-tool` may run under another name.
const FORBIDDEN: [&str; 2] = ["file_write_safe", "file_append_line"];

/// The tools of a task that answer, offered to a model.
#[derive(Debug)]
pub(crate) struct MeshFunctions<'a> {
    toolbox: &'a Toolbox,
    offered: Vec<Function>,
    /// The public ids of the tools, in the same order.
    ids: Vec<String>,
}

impl Grant {
    /// What a model may call of a tool, by any of its names.
    fn of(id: &str) -> Option<&'static Self> {
        let name = discovery::consul_name(id.trim()).to_lowercase();
        GRANTS.iter().find(|grant| grant.tool == name)
    }

    /// Whether a model may set this parameter. Every one of a tool without a grant.
    fn allows(grant: Option<&Self>, parameter: &str) -> bool {
        grant.is_none_or(|grant| grant.parameters.contains(&parameter))
    }

    fn names(&self) -> Vec<&'static str> {
        self.operations.iter().map(|(name, _)| *name).collect()
    }
}

impl<'a> MeshFunctions<'a> {
    /// Asks each tool of the task for its description. A tool that does not answer is left out.
    pub(crate) async fn list(toolbox: &'a Toolbox) -> Self {
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
    fn definitions(&self) -> &[Function] {
        &self.offered
    }

    async fn call(&self, name: &str, arguments: &str) -> String {
        let mut tools = self.offered.iter().zip(&self.ids);
        let Some((_, id)) = tools.find(|(function, _)| function.name == name) else {
            return format!("error: there is no function {:?}", shorten(name));
        };
        let Ok(Value::Object(mut arguments)) = serde_json::from_str(arguments) else {
            return "error: the arguments are not a JSON object".to_owned();
        };
        let operation = arguments.remove("operation").map(text).unwrap_or_default();
        let operation = operation.trim();
        let grant = Grant::of(id);
        if let Some(names) = grant.map(Grant::names)
            && !names.contains(&operation)
        {
            let (operation, names) = (shorten(operation), names.join(", "));
            return format!("error: {operation:?} is not for a model: {id} has {names}");
        }
        if FORBIDDEN.contains(&operation.to_lowercase().as_str()) {
            return format!("error: {operation:?} is not for a model");
        }
        let given = arguments
            .iter()
            // Some models fill in every parameter of a function.
            .filter(|(key, value)| Grant::allows(grant, key) && !value.is_null())
            .map(|(key, value)| (key.as_str(), text(value.clone())));
        match self.toolbox.call(id, operation, given).await {
            Ok(result) => truncate(&result, MAX_RESULT),
            Err(error) => format!("error: {error}"),
        }
    }
}

/// Parameters of tools are texts: `5` and `"5"` are the same.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn function(info: &ToolInfo) -> Function {
    let grant = Grant::of(&info.tool_id);
    let operation = match grant {
        Some(grant) => {
            let names = grant.names();
            let about = list(grant.operations.iter().copied());
            json!({"type": "string", "enum": names, "description": about})
        }
        None => json!({"type": "string", "description": info.detailed_description}),
    };
    let allowed = |row: &&ToolParameter| Grant::allows(grant, &row.name);
    let (mut properties, mut required) = parameters_schema(info.parameters.iter().filter(allowed));
    properties.insert("operation".to_owned(), operation);
    required.retain(|name| name != "operation");
    required.insert(0, "operation".to_owned());
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    Function {
        name: info.tool_id.chars().take(64).map(plain).collect(),
        description: info.description.clone(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

#[cfg(test)]
mod tests {
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
            tool_id: "atlas-tool".to_owned(),
            detailed_description: "Operations: find".to_owned(),
            parameters: vec![
                parameter("limit", "integer", false),
                parameter("q", "int32", true),
            ],
            ..ToolInfo::default()
        };
        let function = function(&info);
        assert_eq!(function.name, "atlas_tool");
        let schema = &function.parameters;
        assert_eq!(schema["properties"]["limit"]["type"], "integer");
        assert_eq!(schema["properties"]["q"]["type"], "string");
        assert_eq!(schema["required"], json!(["operation", "q"]));
        assert_eq!(
            schema["properties"]["operation"]["description"],
            "Operations: find"
        );
    }

    #[test]
    fn of_the_files_a_model_is_shown_what_reads() {
        let parameter = |name: &str| ToolParameter {
            name: name.to_owned(),
            r#type: "string".to_owned(),
            ..ToolParameter::default()
        };
        let info = ToolInfo {
            tool_id: "fs-tool".to_owned(),
            description: "Files".to_owned(),
            detailed_description: "Operations: file_write_safe: writes".to_owned(),
            parameters: vec![parameter("path"), parameter("content")],
            ..ToolInfo::default()
        };
        let function = function(&info);
        let schema = &function.parameters["properties"];
        assert_eq!(
            schema["operation"]["enum"],
            json!(["file_read_safe", "file_list"])
        );
        assert!(schema.get("path").is_some() && schema.get("content").is_none());
        assert!(!function.parameters.to_string().contains("write"));
    }

    #[test]
    fn a_tool_is_known_by_any_of_its_names() {
        for id in ["fs-tool", "tool-fs", "FS-tool", " fs-tool ", "Tool-FS"] {
            let grant = Grant::of(id);
            assert!(
                grant.is_some_and(|grant| !grant.names().contains(&"file_write_safe")),
                "{id}"
            );
        }
        assert!(Grant::of("weather-tool").is_none());
    }
}
