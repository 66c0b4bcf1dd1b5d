//! What the headers of a modern request repeat of its body.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// The keyword of a schema that asks for a header.
pub(super) const KEYWORD: &str = "x-mcp-header";

/// Which arguments of a tool are repeated in headers: the path to each, and its header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParamHeaders(Vec<(Vec<String>, String)>);

impl ParamHeaders {
    /// Those that a schema asks for.
    ///
    /// # Errors
    /// What is wrong with the schema: a tool with such a schema must not be used.
    pub(super) fn of_schema(schema: &Value) -> Result<Self, String> {
        let mut found = Self::default();
        if let Value::Object(schema) = schema {
            found.collect(schema, &mut Vec::new(), true)?;
        }
        let mut names = BTreeSet::new();
        for (_, header) in &found.0 {
            if !names.insert(header.to_ascii_lowercase()) {
                return Err(format!("two arguments have the header {header:?}"));
            }
        }
        Ok(found)
    }

    /// Only a property that is reached by `properties` alone may have a header.
    fn collect(
        &mut self,
        schema: &Map<String, Value>,
        path: &mut Vec<String>,
        by_properties: bool,
    ) -> Result<(), String> {
        for (keyword, value) in schema {
            match (keyword.as_str(), value) {
                (KEYWORD, _) if !by_properties || path.is_empty() => {
                    return Err(format!("{KEYWORD} stands where no argument is"));
                }
                (KEYWORD, _) => {
                    let header = usable(value, schema.get("type"))?;
                    self.0.push((path.clone(), header));
                }
                ("properties", Value::Object(properties)) => {
                    for (name, schema) in properties {
                        path.push(name.clone());
                        self.within(schema, path, by_properties)?;
                        path.pop();
                    }
                }
                (
                    "$defs" | "definitions" | "dependentSchemas" | "patternProperties"
                    | "dependencies",
                    Value::Object(schemas),
                ) => {
                    for schema in schemas.values() {
                        self.within(schema, path, false)?;
                    }
                }
                // These hold values, and names of properties.
                ("default" | "const" | "enum" | "examples" | "dependentRequired", _) => {}
                (_, value) => self.within(value, path, false)?,
            }
        }
        Ok(())
    }

    fn within(
        &mut self,
        value: &Value,
        path: &mut Vec<String>,
        by_properties: bool,
    ) -> Result<(), String> {
        match value {
            Value::Object(schema) => self.collect(schema, path, by_properties),
            Value::Array(schemas) => schemas
                .iter()
                .try_for_each(|schema| self.within(schema, path, false)),
            _ => Ok(()),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add_to(&self, headers: &mut HeaderMap, arguments: &Value) {
        for (path, header) in &self.0 {
            let value = path.iter().try_fold(arguments, |value, key| value.get(key));
            if let Some(text) = value.and_then(primitive) {
                insert(headers, &format!("mcp-param-{header}"), &encoded(&text));
            }
        }
    }
}

/// The header's name, where the annotation may be used.
fn usable(header: &Value, kind: Option<&Value>) -> Result<String, String> {
    let Some(name) = header.as_str().filter(|name| !name.is_empty()) else {
        return Err(format!("{KEYWORD} is no name"));
    };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(is_token) {
        return Err(format!("{name:?} is no name of a header"));
    }
    match kind.and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => Ok(name.to_owned()),
        _ => Err(format!(
            "{name:?} is to repeat what is neither text nor an integer nor a boolean"
        )),
    }
}

/// The headers of a request.
pub(super) fn of_request(method: &str, params: &Value, tool: Option<&ParamHeaders>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, "mcp-method", &encoded(method));
    let name = match method {
        "tools/call" | "prompts/get" => &params["name"],
        "resources/read" => &params["uri"],
        "tasks/get" | "tasks/update" | "tasks/cancel" => &params["taskId"],
        _ => &Value::Null,
    };
    if let Some(name) = name.as_str() {
        insert(&mut headers, "mcp-name", &encoded(name));
    }
    if let Some(tool) = tool.filter(|tool| !tool.is_empty()) {
        tool.add_to(&mut headers, &params["arguments"]);
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn primitive(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Text as a header can carry it: as it is, else in base64.
fn encoded(text: &str) -> String {
    let is_padded = text.starts_with(' ') || text.ends_with(' ');
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    let is_plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if is_plain && !is_padded && !looks_encoded {
        return text.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn annotated(schema: &Value) -> Result<ParamHeaders, String> {
        ParamHeaders::of_schema(&json!({ "type": "object", "properties": { "value": schema } }))
    }

    #[test]
    fn arguments_are_repeated_where_the_schema_asks_for_it() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "query": {"type": "string", "default": {"x-mcp-header": "is a value here"}},
            "none": {"type": "boolean", "x-mcp-header": "None"},
        }});
        let tool = ParamHeaders::of_schema(&schema).unwrap();
        let arguments =
            json!({"region": " padded ", "deep": {"n": 42}, "query": "q", "none": null});
        let params = json!({ "name": "süd", "arguments": arguments });
        let headers = of_request("tools/call", &params, Some(&tool));
        let all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(all.len(), 4, "{all:?}");
        for expected in [
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?c8O8ZA==?="),
            ("mcp-param-region", "=?base64?IHBhZGRlZCA=?="),
            ("mcp-param-n", "42"),
        ] {
            assert!(all.contains(&expected), "{expected:?}: {all:?}");
        }
        let headers = of_request("resources/read", &json!({"uri": "agent://x"}), None);
        assert_eq!(headers["mcp-name"], "agent://x");
    }

    #[test]
    fn a_tool_with_an_unusable_annotation_is_refused() {
        for schema in [
            json!({"type": "string", "x-mcp-header": ""}),
            json!({"type": "string", "x-mcp-header": "two words"}),
            json!({"type": "string", "x-mcp-header": "a:b"}),
            json!({"type": "string", "x-mcp-header": "Région"}),
            json!({"type": "object", "x-mcp-header": "Data"}),
            json!({"type": "number", "x-mcp-header": "Float"}),
            json!({"type": "null", "x-mcp-header": "Nil"}),
            json!({"type": "array", "items": {"type": "string", "x-mcp-header": "Item"}}),
            json!({"properties": {
                "a": {"type": "string", "x-mcp-header": "MyField"},
                "b": {"type": "string", "x-mcp-header": "myfield"}}}),
        ] {
            assert!(annotated(&schema).is_err(), "{schema}");
        }
    }
}
