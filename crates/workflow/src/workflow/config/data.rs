//! Nodes that make values of values, at once.

use serde_json::{Map, Value};

use super::{Kind, Reading, Transform};
use crate::expression::{ITEM_NAMES, NODE_NAMES};

/// Transformations by name.
const TRANSFORMATIONS: [&str; 4] = ["uppercase", "lowercase", "trim", "normalize"];

pub(super) fn transform(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = r.at.clone();
    let ways = ["expression", "fields", "value", "transformation"];
    let given: Vec<_> = ways
        .iter()
        .filter(|way| config.contains_key(**way))
        .collect();
    if given.len() > 1 {
        let message = "only one of `expression`, `fields`, `value` and `transformation`";
        r.reader.wrong(at.as_str(), message);
    }
    if let Some(fields) = r.reader.object(&at, config, "fields") {
        let at = format!("{at}/fields");
        let fields = fields.iter().filter_map(|(key, _)| {
            let expression = r.reader.expression(&at, fields, key, &ITEM_NAMES)?;
            Some((key.clone(), expression))
        });
        return Some(Kind::Transform(Transform::Fields(fields.collect())));
    }
    if let Some(expression) = r.reader.expression(&at, config, "expression", &ITEM_NAMES) {
        return Some(Kind::Transform(Transform::Expression(expression)));
    }
    if config.contains_key("value") {
        return Some(Kind::Transform(Transform::Value));
    }
    let name = r
        .reader
        .one_of(&at, config, "transformation", &TRANSFORMATIONS);
    let known = TRANSFORMATIONS.iter().find(|known| Some(**known) == name);
    Some(Kind::Transform(
        known.map_or(Transform::Nothing, |name| Transform::Named(name)),
    ))
}

pub(super) fn filter(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    let items = match config.get("items") {
        Some(Value::Array(_)) => None,
        _ => r.reader.expression(at, config, "items", &NODE_NAMES),
    };
    let tests = ["expression", "condition", "filter_expression"];
    let given: Vec<_> = tests
        .iter()
        .filter(|key| config.contains_key(**key))
        .collect();
    if given.is_empty() {
        r.reader
            .wrong(format!("{at}/expression"), "`expression` is missing");
    }
    let test = given
        .first()
        .and_then(|key| r.reader.expression(at, config, key, &ITEM_NAMES));
    Some(Kind::Filter { items, test })
}

/// What `aggregate` can do.
const STRATEGIES: [&str; 12] = [
    "merge", "union", "concat", "list", "object", "first", "last", "count", "sum", "min", "max",
    "avg",
];

pub(super) fn aggregate(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    let name = r.reader.one_of(at, config, "strategy", &STRATEGIES);
    let strategy = STRATEGIES.iter().find(|known| Some(**known) == name);
    let field = r.reader.text(at, config, "field");
    Some(Kind::Aggregate {
        strategy: strategy.copied().unwrap_or("merge"),
        field: field.map(str::to_owned),
        expression: r.reader.expression(at, config, "expression", &NODE_NAMES),
    })
}
