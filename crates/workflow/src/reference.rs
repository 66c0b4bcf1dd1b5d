//! References in configurations: `$nodes.id.path`, `$inputs.path`, and `${…}` within texts.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::is_id;

/// Where references lead.
pub(crate) struct Sources<'a> {
    pub(crate) node: &'a dyn Fn(&str) -> Option<Arc<Value>>,
    pub(crate) inputs: &'a Value,
    pub(crate) run: &'a Value,
    /// Of a `for_each`: the item and its number.
    pub(crate) item: Option<(&'a Value, usize)>,
}

const ROOTS: [&str; 5] = ["nodes", "inputs", "run", "item", "index"];

/// A text that is one reference, without the `$`: its root and its path.
fn whole(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('$')?;
    path(rest)
}

/// A root and the path after it.
fn path(text: &str) -> Option<(&str, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (root, path) = text.split_at(end);
    let fits = |char: char| is_id(char) || matches!(char, '.' | '[' | ']' | '@' | '/' | ':');
    let known = ROOTS.contains(&root) && path.chars().all(fits) && !path.ends_with('.');
    (known && (root != "nodes" || path.len() > 1)).then_some((root, path))
}

/// Whether a text as a whole is a reference.
pub(crate) fn is_reference(text: &str) -> bool {
    whole(text).is_some() || placeholders(text).next().is_some()
}

/// Whether a value has references.
pub(crate) fn refers(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('$') && is_reference(text),
        Value::Array(items) => items.iter().any(refers),
        Value::Object(fields) => fields.values().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The nodes that a text refers to.
pub(crate) fn nodes_of(text: &str) -> Vec<String> {
    let found: Vec<(&str, &str)> = match whole(text) {
        Some(found) => vec![found],
        None => placeholders(text)
            .map(|placeholder| placeholder.path)
            .collect(),
    };
    let nodes = found.into_iter().filter(|(root, _)| *root == "nodes");
    nodes.map(|(_, path)| node_of(path).0.to_owned()).collect()
}

/// The id at the beginning of a path of `nodes`, and the rest.
fn node_of(path: &str) -> (&str, &str) {
    let path = path.trim_start_matches('.');
    let end = path.find(['.', '[']).unwrap_or(path.len());
    path.split_at(end)
}

struct Placeholder<'t> {
    start: usize,
    end: usize,
    path: (&'t str, &'t str),
}

/// `${…}` within a text. What is none of ours, such as `${HOME}`, stays.
fn placeholders(text: &str) -> impl Iterator<Item = Placeholder<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find("${")?;
            let end = start + text.get(start..)?.find('}')?;
            from = start + 2;
            let inner = text.get(start + 2..end)?.trim();
            let inner = inner.strip_prefix('$').unwrap_or(inner);
            if let Some(path) = path(inner) {
                from = end + 1;
                return Some(Placeholder {
                    start,
                    end: end + 1,
                    path,
                });
            }
        }
    })
}

/// Fills in what a value refers to.
pub(crate) fn fill(value: &Value, sources: &Sources<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) if text.contains('$') => text_of(text, sources)?,
        Value::Array(items) => {
            let items = items.iter().map(|item| fill(item, sources));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, field)| Ok((key.clone(), fill(field, sources)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
        }
        other => other.clone(),
    })
}

fn text_of(text: &str, sources: &Sources<'_>) -> Result<Value, String> {
    if let Some((root, path)) = whole(text) {
        return look_up(root, path, sources);
    }
    let mut filled = String::with_capacity(text.len());
    let mut from = 0;
    for placeholder in placeholders(text) {
        filled.push_str(&text[from..placeholder.start]);
        let (root, path) = placeholder.path;
        match look_up(root, path, sources)? {
            Value::String(value) => filled.push_str(&value),
            value => filled.push_str(&value.to_string()),
        }
        from = placeholder.end;
        if filled.len() > crate::MAX_OUTPUT {
            return Err("a text that is filled in becomes too large".to_owned());
        }
    }
    filled.push_str(&text[from..]);
    Ok(Value::String(filled))
}

fn look_up(root: &str, path: &str, sources: &Sources<'_>) -> Result<Value, String> {
    let missing = || format!("${root}{path} is missing");
    match root {
        "nodes" => {
            let (id, rest) = node_of(path);
            let output = (sources.node)(id)
                .ok_or_else(|| format!("${root}{path} is missing: `{id}` has no output"))?;
            follow(&output, rest).cloned().ok_or_else(missing)
        }
        "inputs" => follow(sources.inputs, path).cloned().ok_or_else(missing),
        "run" => follow(sources.run, path).cloned().ok_or_else(missing),
        "item" => {
            let (item, _) = sources.item.ok_or_else(missing)?;
            follow(item, path).cloned().ok_or_else(missing)
        }
        _ => {
            let (_, index) = sources.item.ok_or_else(missing)?;
            Ok(Value::from(index))
        }
    }
}

/// What a path such as `.a.b[3].0` leads to.
fn follow<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let parts = path
        .split(['.', '['])
        .map(|part| part.trim_end_matches(']'))
        .filter(|part| !part.is_empty());
    let mut value = value;
    for part in parts {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            // What the answer of an `http` node lacks is looked for in the body of the response.
            Value::Object(fields) => fields.get(part).or_else(|| {
                fields.get("status_code")?;
                fields.get("body")?.get(part)
            })?,
            _ => return None,
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(value: &Value) -> Result<Value, String> {
        let node = |id: &str| {
            let output = json!({"n": 5, "list": [1, {"x": "y"}], "text": "hi"});
            (id == "a").then(|| Arc::new(output))
        };
        let inputs = json!({"who": "me", "deep": {"er": true}});
        let run = json!({"id": "r1"});
        let item = json!({"k": 7});
        fill(
            value,
            &Sources {
                node: &node,
                inputs: &inputs,
                run: &run,
                item: Some((&item, 3)),
            },
        )
    }

    #[test]
    fn references_are_filled_in() {
        for (text, expected) in [
            (
                "$nodes.a",
                json!({"n": 5, "list": [1, {"x": "y"}], "text": "hi"}),
            ),
            ("$nodes.a.n", json!(5)),
            ("$nodes.a.list[1].x", json!("y")),
            ("$nodes.a.list.1.x", json!("y")),
            ("$inputs.deep.er", json!(true)),
            ("$run.id", json!("r1")),
            ("$item.k", json!(7)),
            ("$index", json!(3)),
            ("${$nodes.a.text} and ${inputs.who}!", json!("hi and me!")),
            (
                "n=${nodes.a.n}, list=${$nodes.a.list}",
                json!(r#"n=5, list=[1,{"x":"y"}]"#),
            ),
            ("${HOME} costs $5", json!("${HOME} costs $5")),
            ("$.x", json!("$.x")),
        ] {
            assert_eq!(filled(&json!([text])), Ok(json!([expected])), "{text}");
        }
    }

    #[test]
    fn a_missing_one_is_an_error() {
        for text in [
            "$nodes.b",
            "$nodes.a.zzz",
            "x ${inputs.zzz}",
            "$nodes.a.list[9]",
        ] {
            let error = filled(&json!({"k": text})).unwrap_err();
            assert!(error.contains("is missing"), "{text}: {error}");
        }
    }
}
