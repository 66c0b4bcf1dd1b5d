//! Arguments that HTTP carries as headers too: `x-mcp-header` in a tool's schema.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

/// Nesting of properties that is looked into.
const MAX_DEPTH: usize = 16;
/// The largest integer that every JSON reader keeps.
const SAFE: u64 = (1 << 53) - 1;

/// The annotated arguments of a schema: the path of each, and its header.
///
/// # Errors
/// When an annotation is where it may not be, or is no name of a header: why.
pub(crate) fn annotated(schema: &Value) -> Result<Vec<(Vec<String>, String)>, String> {
    let mut found = Vec::new();
    reachable(schema, &mut Vec::new(), &mut found)?;
    let all = count(schema, 0);
    if all != found.len() {
        return Err("`x-mcp-header` stands where no chain of `properties` leads".to_owned());
    }
    let mut names = BTreeSet::new();
    for (_, name) in &found {
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(format!("`x-mcp-header` {name:?} stands there twice"));
        }
    }
    Ok(found)
}

fn reachable(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> Result<(), String> {
    if path.len() >= MAX_DEPTH {
        return Ok(());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header") {
            let header = header.as_str().unwrap_or_default();
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if header.is_empty() || !header.chars().all(token) {
                return Err(format!("`x-mcp-header` of {name:?} is no name of a header"));
            }
            if !["string", "integer", "boolean"]
                .iter()
                .any(|kind| property["type"] == *kind)
            {
                return Err(format!(
                    "`x-mcp-header` of {name:?} is on no text, integer or boolean"
                ));
            }
            found.push((path.clone(), header.to_owned()));
        }
        reachable(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How many annotations a schema has, wherever they are.
fn count(schema: &Value, depth: usize) -> usize {
    if depth > 64 {
        return 0;
    }
    match schema {
        Value::Object(map) => {
            let inner: usize = map
                .iter()
                // What is an example or a default is no schema.
                .filter(|(name, _)| !["default", "examples", "const", "enum"].contains(&&***name))
                .map(|(name, value)| match (name.as_str(), value) {
                    // The names of properties are anybody's.
                    (
                        "properties" | "$defs" | "definitions" | "patternProperties",
                        Value::Object(all),
                    ) => all.values().map(|it| count(it, depth + 1)).sum(),
                    _ => count(value, depth + 1),
                })
                .sum();
            inner + usize::from(map.contains_key("x-mcp-header"))
        }
        Value::Array(all) => all.iter().map(|it| count(it, depth + 1)).sum(),
        _ => 0,
    }
}

/// The headers of a call with these arguments.
pub(crate) fn of_arguments(
    annotated: &[(Vec<String>, String)],
    arguments: &Value,
) -> Vec<(String, String)> {
    let headers = annotated.iter().filter_map(|(path, name)| {
        let value = path.iter().try_fold(arguments, |at, step| at.get(step))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) => value.to_string(),
            Value::Number(number) if number.is_f64() => {
                let number = number
                    .as_f64()
                    .filter(|it| it.fract() == 0.0 && it.abs() <= SAFE as f64)?;
                format!("{number:.0}")
            }
            Value::Number(_) => value.to_string(),
            _ => return None,
        };
        Some((format!("Mcp-Param-{name}"), encoded(&text)))
    });
    headers.collect()
}

/// A text as the value of a header: as it is, or in base64 where that cannot be.
pub(crate) fn encoded(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|it| it == b'\t' || (0x20..0x7f).contains(&it));
    let trimmed = text.trim_matches([' ', '\t']).len() == text.len();
    let marked = text.starts_with("=?base64?") && text.ends_with("?=");
    match plain && trimmed && !marked && !text.is_empty() {
        true => text.to_owned(),
        false => format!("=?base64?{}?=", BASE64_STANDARD.encode(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotated_arguments_become_headers() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "n": {"type": "object", "properties": {"i": {"type": "integer", "x-mcp-header": "I"}}},
            "flag": {"type": "boolean", "x-mcp-header": "Flag"},
            "x-mcp-header": {"type": "string"},
        }});
        let found = annotated(&schema).unwrap();
        let given = json!({"region": "Hello, 世界", "n": {"i": 42}, "flag": null});
        let mut headers = of_arguments(&found, &given);
        headers.sort();
        let expected = [
            ("Mcp-Param-I", "42"),
            ("Mcp-Param-Region", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        ];
        assert_eq!(headers, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn an_annotation_in_the_wrong_place_is_refused() {
        let string = json!({"type": "string", "x-mcp-header": "A"});
        for bad in [
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": {"type": "array", "items": string}}}),
            json!({"anyOf": [{"properties": {"a": string}}]}),
            json!({"properties": {"a": string, "b": {"type": "string", "x-mcp-header": "a"}}}),
        ] {
            assert!(annotated(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_header_cannot_hold_is_encoded() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("", "=?base64??="),
        ] {
            assert_eq!(encoded(text), value);
        }
    }
}
