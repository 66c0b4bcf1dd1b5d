//! The parameters of agents, workers and tools, which travel as texts.

use std::collections::HashMap;

use proto::agentplatform::ToolParameter;
use serde_json::{Map, Value};

use super::{
    ArgumentError, check_nesting,
    problems::{Problems, listed, nearest, quoted, shown},
};

/// What a call of an agent, a worker or a tool consists of.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// The arguments that are not parameters, such as `input`.
    pub(crate) own: HashMap<&'static str, String>,
    /// The parameters.
    pub(crate) texts: HashMap<String, String>,
}

/// Reads arguments: texts by these `own` names, of which those with `true` have to be given, and
/// parameters. Where `is_open`, other names are parameters too.
pub(crate) fn parameters(
    arguments: Map<String, Value>,
    own: &[(&'static str, bool)],
    known: &[ToolParameter],
    is_open: bool,
) -> Result<Parameters, ArgumentError> {
    let mut problems = Problems::default();
    let mut read = Parameters::default();
    for (name, value) in arguments {
        check_nesting(&value)?;
        let parameter = known.iter().find(|parameter| parameter.name == name);
        let named = own.iter().find(|(own, _)| *own == name);
        match (named, parameter) {
            _ if value.is_null() => {}
            // A parameter of that name is the service's own.
            (Some((own, _)), None) => match value {
                Value::String(text) => drop(read.own.insert(own, text)),
                other => {
                    problems.push(format!("{name}: {} is no text: give one", shown(&other)));
                    read.own.insert(own, String::new());
                }
            },
            (_, Some(parameter)) => match text(&parameter.r#type, &value) {
                Ok(text) => drop(read.texts.insert(name, text)),
                Err(advice) => {
                    problems.push(format!("{name}: {} {advice}", shown(&value)));
                    // It was given, if wrongly.
                    read.texts.insert(name, String::new());
                }
            },
            (None, None) if is_open => drop(read.texts.insert(name, plain(&value))),
            (None, None) if problems.is_full() => problems.push(String::new()),
            (None, None) => {
                let names = || {
                    known
                        .iter()
                        .map(|it| it.name.as_str())
                        .chain(own.iter().map(|it| it.0))
                };
                problems.push(match nearest(&name, names()) {
                    Some(meant) => format!(
                        "there is no parameter {}: did you mean {meant}?",
                        quoted(&name)
                    ),
                    None => format!(
                        "there is no parameter {}: the parameters are {}",
                        quoted(&name),
                        listed(names())
                    ),
                });
            }
        }
    }
    let required = own
        .iter()
        .filter(|(_, required)| *required)
        .map(|(name, _)| *name);
    for name in required {
        if !read.own.contains_key(name) && !read.texts.contains_key(name) {
            problems.push(format!("{name}: is missing, and required"));
        }
    }
    for parameter in known.iter().filter(|parameter| parameter.required) {
        if !read.texts.contains_key(&parameter.name) {
            problems.push(format!("{}: is missing, and required", parameter.name));
        }
    }
    match problems.is_empty() {
        true => Ok(read),
        false => Err(problems.into_error()),
    }
}

/// A value as the text of a parameter of that type, or what is wrong with it.
fn text(kind: &str, value: &Value) -> Result<String, &'static str> {
    let fits = match (agentkit::parameter_type(kind), value) {
        ("integer", Value::Number(number)) => {
            if let Some(whole) = number
                .as_f64()
                .filter(|it| it.fract() == 0.0 && it.abs() < 9e15)
            {
                return Ok(format!("{whole:.0}"));
            }
            number.is_i64() || number.is_u64()
        }
        ("integer", Value::String(text)) => text.trim().parse::<i128>().is_ok(),
        ("number", Value::String(text)) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        ("boolean", Value::String(text)) => matches!(text.as_str(), "true" | "false"),
        ("number", value) => value.is_number(),
        ("boolean", value) => value.is_boolean(),
        ("integer", _) => false,
        // Lists and objects may come as the text that they become.
        ("array", value) => value.is_array() || value.is_string(),
        ("object", value) => value.is_object() || value.is_string(),
        (_, value) => !value.is_array() && !value.is_object(),
    };
    match (fits, agentkit::parameter_type(kind)) {
        (true, _) => Ok(plain(value)),
        (false, "integer") => Err("is no whole number: give one"),
        (false, "number") => Err("is no number: give one"),
        (false, "boolean") => Err("is neither true nor false: give one of them"),
        (false, "array") => Err("is no list: give one"),
        (false, "object") => Err("is no object: give one"),
        (false, _) => Err("is no text: give one"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
