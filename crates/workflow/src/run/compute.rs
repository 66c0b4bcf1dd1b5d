//! Nodes that the engine does itself.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Run, machine::Machine};
use crate::{
    Output,
    expression::Expression,
    workflow::{Kind, Subject, Transform},
};

impl Machine<'_> {
    /// The output of a node that the engine does itself.
    pub(super) fn computed(&mut self, at: usize) -> Result<Output, String> {
        let workflow = self.workflow();
        let node = &workflow.nodes[at];
        let made = match &node.kind {
            Kind::Conditional { .. } | Kind::Loop(_) => return self.merged(at),
            Kind::Transform(Transform::Nothing) => return Ok(self.run.input(at)),
            Kind::Pass => {
                let input = self.run.input(at);
                return if input.blob.is_some() {
                    Ok(input)
                } else {
                    self.kept(input.value)
                };
            }
            Kind::Transform(transform) => {
                let input = self.run.input(at).value;
                let value = Arc::clone(&node.config.value);
                let filled = match transform {
                    Transform::Value => self.run.filled(&node.config, None)?,
                    _ => value,
                };
                transformed(
                    self.run,
                    transform,
                    &filled,
                    &[("input", &input), ("output", &input)],
                )?
            }
            Kind::Filter { items, test } => {
                let config = self.run.filled(&node.config, None)?;
                let list = self.list(at, items.as_ref(), &config)?;
                filtered(self.run, list, test.as_ref())?
            }
            Kind::Aggregate {
                strategy,
                field,
                expression,
            } => self.aggregated(at, strategy, field.as_deref(), expression.as_ref())?,
            _ => Value::Null,
        };
        self.kept(Arc::new(made))
    }

    /// What a condition sees of several nodes: their fields together, a later one's first.
    fn merged(&mut self, at: usize) -> Result<Output, String> {
        let inputs = self.run.inputs(at);
        let objects = inputs.len() > 1 && inputs.iter().all(|(_, input)| input.value.is_object());
        if !objects {
            return Ok(self.run.input(at));
        }
        let mut fields = Map::new();
        for (_, input) in &inputs {
            if let Value::Object(more) = &*input.value {
                fields.extend(more.clone());
            }
        }
        self.kept(Arc::new(Value::Object(fields)))
    }

    /// The items of a list that an expression, the configuration or what comes to the node gives.
    pub(super) fn list(
        &self,
        at: usize,
        items: Option<&Expression>,
        config: &Value,
    ) -> Result<Vec<Value>, String> {
        let input = self.run.input(at).value;
        let value = match (items, config.get("items")) {
            (Some(items), _) => {
                let variables = [("input", &*input), ("output", &*input)];
                self.run.evaluate(items, &variables)?
            }
            (None, Some(items)) => items.clone(),
            (None, None) => match input.get("items") {
                Some(items @ Value::Array(_)) => items.clone(),
                _ if input.is_array() => (*input).clone(),
                _ if input.is_null() => Value::Array(Vec::new()),
                _ => Value::Array(vec![(*input).clone()]),
            },
        };
        match value {
            Value::Array(items) => Ok(items),
            other => Err(format!("`items` is no list, but {}", shown(&other))),
        }
    }

    fn aggregated(
        &self,
        at: usize,
        strategy: &str,
        field: Option<&str>,
        expression: Option<&Expression>,
    ) -> Result<Value, String> {
        if let Some(expression) = expression {
            let input = self.run.input(at).value;
            return self
                .run
                .evaluate(expression, &[("input", &input), ("output", &input)]);
        }
        let inputs = self.run.inputs(at);
        if strategy == "object" {
            let fields = inputs
                .iter()
                .map(|(id, input)| ((*id).to_owned(), (*input.value).clone()));
            return Ok(Value::Object(fields.collect()));
        }
        let values: Vec<&Value> = inputs.iter().map(|(_, input)| &*input.value).collect();
        // Lists give their elements.
        let elements: Vec<&Value> = values
            .iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                other => vec![*other],
            })
            .collect();
        Ok(match strategy {
            "list" => Value::Array(values.into_iter().cloned().collect()),
            "first" => values.first().map_or(Value::Null, |value| (*value).clone()),
            "last" => values.last().map_or(Value::Null, |value| (*value).clone()),
            "concat" => Value::Array(elements.into_iter().cloned().collect()),
            "union" => {
                let mut seen = std::collections::HashSet::new();
                let distinct = elements
                    .into_iter()
                    .filter(|element| seen.insert(element.to_string()));
                Value::Array(distinct.cloned().collect())
            }
            "count" => json!(elements.len()),
            "sum" | "min" | "max" | "avg" => numbers(strategy, &elements, field)?,
            _ if values.iter().all(|value| value.is_object()) => {
                let mut fields = Map::new();
                for value in values {
                    if let Value::Object(more) = value {
                        fields.extend(more.clone());
                    }
                }
                Value::Object(fields)
            }
            _ => Value::Array(elements.into_iter().cloned().collect()),
        })
    }
}

fn numbers(strategy: &str, elements: &[&Value], field: Option<&str>) -> Result<Value, String> {
    let values = elements.iter().map(|element| {
        let value = match field {
            Some(field) => field
                .split('.')
                .try_fold(*element, |value, part| value.get(part)),
            None => Some(*element),
        };
        let number = value.and_then(Value::as_f64);
        number.ok_or_else(|| {
            let field = field.map_or(String::new(), |field| format!(" `{field}`"));
            format!(
                "`{strategy}` needs numbers:{field} of {} is none",
                shown(element)
            )
        })
    });
    let values: Vec<f64> = values.collect::<Result<_, String>>()?;
    let sum: f64 = values.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "it is a count of a list")]
    let count = values.len() as f64;
    let made = match strategy {
        "sum" => sum,
        _ if values.is_empty() => return Ok(Value::Null),
        "avg" => sum / count,
        "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
        _ => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    Ok(if made.fract() == 0.0 && made.abs() < 9e15 {
        json!(made as i64)
    } else {
        json!(made)
    })
}

/// The beginning of a value, for people.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn filtered(run: &Run, list: Vec<Value>, test: Option<&Expression>) -> Result<Value, String> {
    let Some(test) = test else {
        return Ok(Value::Array(list));
    };
    let mut kept = Vec::new();
    for (index, item) in list.into_iter().enumerate() {
        let number = json!(index);
        let variables = [
            ("item", &item),
            ("value", &item),
            ("output", &item),
            ("index", &number),
        ];
        match run.evaluate(test, &variables)? {
            Value::Bool(true) => kept.push(item),
            Value::Bool(false) => {}
            other => {
                return Err(format!(
                    "`{}` is {}, not true or false",
                    test.text(),
                    shown(&other)
                ));
            }
        }
    }
    Ok(Value::Array(kept))
}

/// What a transformation makes; `config` is filled in.
fn transformed(
    run: &Run,
    transform: &Transform,
    config: &Value,
    variables: &[(&str, &Value)],
) -> Result<Value, String> {
    match transform {
        Transform::Expression(expression) => run.evaluate(expression, variables),
        Transform::Fields(fields) => {
            let fields = fields
                .iter()
                .map(|(key, expression)| Ok((key.clone(), run.evaluate(expression, variables)?)));
            Ok(Value::Object(fields.collect::<Result<_, String>>()?))
        }
        Transform::Value => Ok(config.get("value").cloned().unwrap_or_default()),
        Transform::Named(name) => {
            let input = variables.first().map_or(&Value::Null, |(_, value)| value);
            Ok(renamed(name, input))
        }
        Transform::Nothing => Ok(variables
            .first()
            .map_or(Value::Null, |(_, value)| (*value).clone())),
    }
}

/// All texts of a value, by a transformation with a name.
fn renamed(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(match name {
            "uppercase" => text.to_uppercase(),
            "lowercase" => text.to_lowercase(),
            "trim" => text.trim().to_owned(),
            // `normalize`: no white space twice.
            _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
        }),
        Value::Array(items) => items.iter().map(|item| renamed(name, item)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| (key.clone(), renamed(name, field)))
            .collect(),
        other => other.clone(),
    }
}

/// What an item of a `for_each` becomes at once.
pub(super) fn item_made(
    run: &Run,
    subject: &Subject,
    item: &Value,
    index: usize,
) -> Result<Value, String> {
    let Kind::Transform(transform) = &subject.kind else {
        return Ok(item.clone());
    };
    let number = json!(index);
    let filled = match transform {
        Transform::Value => run.filled(&subject.config, Some((item, index)))?,
        _ => Arc::clone(&subject.config.value),
    };
    let variables = [
        ("input", item),
        ("item", item),
        ("value", item),
        ("output", item),
        ("index", &number),
    ];
    transformed(run, transform, &filled, &variables)
}
