//! The parameters of tools and workers as JSON Schema.

use proto::agentplatform::ToolParameter;
use serde_json::{Map, Value, json};

/// The types of JSON Schema that a parameter may have; any other is a string.
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// The parameters as the `properties` of an object, and the names of those that are required.
///
/// ```
/// use proto::agentplatform::ToolParameter;
///
/// let days = ToolParameter {
///     name: "days".into(),
///     r#type: "integer".into(),
///     required: true,
///     ..ToolParameter::default()
/// };
/// let (properties, required) = mesh_agentkit::parameters_schema([&days]);
/// assert_eq!(properties["days"]["type"], "integer");
/// assert_eq!(required, ["days"]);
/// ```
#[must_use]
pub fn parameters_schema<'a>(
    parameters: impl IntoIterator<Item = &'a ToolParameter>,
) -> (Map<String, Value>, Vec<String>) {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for parameter in parameters {
        let mut schema = json!({"type": parameter_type(&parameter.r#type)});
        if !parameter.description.is_empty() {
            schema["description"] = json!(parameter.description);
        }
        if schema["type"] == "array" {
            schema["items"] = json!({"type": "string"});
        }
        if parameter.required && !required.contains(&parameter.name) {
            required.push(parameter.name.clone());
        }
        properties.insert(parameter.name.clone(), schema);
    }
    (properties, required)
}

/// The type of JSON Schema that the type of a parameter means; `string` for other words.
#[must_use]
pub fn parameter_type(word: &str) -> &'static str {
    let known = TYPES.into_iter().find(|kind| *kind == word);
    known.unwrap_or("string")
}
