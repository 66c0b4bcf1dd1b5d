//! The arguments of a tool from the texts of a request, typed by the tool's schema.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The parameter that holds arguments as JSON.
const ARGUMENTS: &str = "arguments";
/// Unions and references within each other that are followed.
const MAX_DEPTH: usize = 8;
/// Schemas of one argument that are looked at: unions of references to unions have no end.
const MAX_SCHEMAS: usize = 256;

/// The arguments that the texts stand for. `arguments` is a JSON object of them, unless the tool has
/// an argument of that name; single ones come over it.
///
/// # Errors
/// When a text is not of its type: the text says which one and what to give.
pub(crate) fn arguments(
    schema: &Value,
    parameters: &HashMap<String, String>,
) -> Result<Map<String, Value>, String> {
    let property = |name: &str| schema.get("properties").and_then(|it| it.get(name));
    let mut out = Map::new();
    if let Some(text) = parameters.get(ARGUMENTS)
        && property(ARGUMENTS).is_none()
    {
        out = serde_json::from_str(text)
            .map_err(|error| format!("parameter `arguments` is no JSON object: {error}"))?;
    }
    let singles = parameters
        .iter()
        .filter(|(name, _)| *name != ARGUMENTS || property(ARGUMENTS).is_some());
    for (name, text) in singles {
        let of = property(name).or_else(|| schema.get("additionalProperties"));
        let value = typed(of.unwrap_or(&Value::Null), schema, text).map_err(|expected| {
            let text = &text[..text.floor_char_boundary(80)];
            format!("parameter `{name}` is {text:?}: give {expected}")
        })?;
        out.insert(name.clone(), value);
    }
    Ok(out)
}

/// A text as a value of a schema: the first of its types that takes it.
fn typed(schema: &Value, root: &Value, text: &str) -> Result<Value, String> {
    let types = types(schema, root);
    if types.is_empty() {
        return Ok(Value::from(text));
    }
    let parsed: Option<Value> = serde_json::from_str(text.trim()).ok();
    let fits = |kind: &str| match (&parsed, kind) {
        (Some(Value::Number(it)), "integer") => {
            it.is_i64() || it.is_u64() || it.as_f64().is_some_and(|it| it.fract() == 0.0)
        }
        (Some(Value::Number(_)), "number")
        | (Some(Value::Bool(_)), "boolean")
        | (Some(Value::Null), "null")
        | (Some(Value::Array(_)), "array")
        | (Some(Value::Object(_)), "object") => true,
        _ => false,
    };
    if types.iter().any(|kind| fits(kind)) {
        return Ok(parsed.unwrap_or_default());
    }
    if types.iter().any(|kind| kind == "string") {
        return Ok(Value::from(text));
    }
    Err(format!("JSON of the type {}", types.join(" or ")))
}

/// The types that a schema allows, as far as it says so.
fn types(schema: &Value, root: &Value) -> Vec<String> {
    let (mut types, mut left) = (Vec::new(), MAX_SCHEMAS);
    collect(schema, root, MAX_DEPTH, &mut left, &mut types);
    types
}

fn collect(schema: &Value, root: &Value, depth: usize, left: &mut usize, types: &mut Vec<String>) {
    if depth == 0 || *left == 0 {
        return;
    }
    *left -= 1;
    let add = |types: &mut Vec<String>, kind: &Value| {
        if let Some(kind) = kind.as_str()
            && !types.iter().any(|known| known == kind)
        {
            types.push(kind.to_owned());
        }
    };
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().for_each(|kind| add(types, kind)),
        kind => add(types, kind),
    }
    for value in schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .take(64)
        .chain(schema.get("const"))
    {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        add(types, &Value::from(kind));
    }
    for union in ["anyOf", "oneOf"] {
        for part in schema[union].as_array().into_iter().flatten().take(64) {
            collect(part, root, depth - 1, left, types);
        }
    }
    let target = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    if let Some(target) = target.and_then(|it| root.pointer(it)) {
        collect(target, root, depth - 1, left, types);
    }
}

/// The type of a parameter, as `ToolParameter` has it.
pub(crate) fn type_of(schema: &Value, root: &Value) -> String {
    let mut types = types(schema, root);
    types.retain(|it| it != "null");
    types
        .into_iter()
        .next()
        .unwrap_or_else(|| "string".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value, given: &[(&str, &str)]) -> Result<Value, String> {
        let given = given
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        arguments(schema, &given.collect()).map(Value::Object)
    }

    #[test]
    fn texts_are_typed_by_the_schema() {
        let schema = json!({
            "properties": {
                "text": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": "number"},
                "yes": {"type": "boolean"}, "list": {"type": "array"}, "map": {"type": "object"},
                "any": {}, "maybe": {"type": ["integer", "null"]},
                "either": {"anyOf": [{"type": "number"}, {"type": "string"}]},
                "named": {"$ref": "#/$defs/n"}, "loop": {"$ref": "#/$defs/loop"},
                "word": {"enum": ["1", "b"]},
            },
            "$defs": {"n": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}},
        });
        let given = [
            ("text", "5"),
            ("count", "5"),
            ("ratio", "0.5"),
            ("yes", "true"),
            ("list", "[1]"),
            ("map", "{\"a\":1}"),
            ("any", "5"),
            ("maybe", "null"),
            ("either", "x"),
            ("named", "7"),
            ("loop", "y"),
            ("word", "1"),
            ("unknown", "6"),
        ];
        let expected = json!({
            "text": "5", "count": 5, "ratio": 0.5, "yes": true, "list": [1], "map": {"a": 1},
            "any": "5", "maybe": null, "either": "x", "named": 7, "loop": "y", "word": "1",
            "unknown": "6",
        });
        assert_eq!(read(&schema, &given), Ok(expected));
        let told = read(&schema, &[("count", "five")]).unwrap_err();
        assert_eq!(
            told,
            "parameter `count` is \"five\": give JSON of the type integer"
        );
        assert!(read(&schema, &[("yes", "maybe")]).is_err());
    }

    #[test]
    fn a_schema_without_an_end_takes_no_time() {
        let refs: Vec<Value> = (0..64).map(|_| json!({"$ref": "#/properties/a"})).collect();
        let endless = json!({"anyOf": refs, "oneOf": refs});
        let schema = json!({"properties": {"a": endless}});
        let begun = std::time::Instant::now();
        assert_eq!(read(&schema, &[("a", "x")]), Ok(json!({"a": "x"})));
        assert!(begun.elapsed().as_secs() < 1, "{:?}", begun.elapsed());
        let long = "é".repeat(1_000);
        let told = read(
            &json!({"properties": {"n": {"type": "number"}}}),
            &[("n", &long)],
        );
        assert!(told.unwrap_err().len() < 200);
    }

    #[test]
    fn arguments_come_as_json_and_single_ones_over_them() {
        let schema = json!({"properties": {"a": {"type": "integer"}}});
        let given = [("arguments", r#"{"a":1,"b":[2]}"#), ("a", "3")];
        assert_eq!(read(&schema, &given), Ok(json!({"a": 3, "b": [2]})));
        assert!(read(&schema, &[("arguments", "[1]")]).is_err());
        let own = json!({"properties": {"arguments": {"type": "string"}}});
        assert_eq!(
            read(&own, &[("arguments", "x")]),
            Ok(json!({"arguments": "x"}))
        );
    }
}
