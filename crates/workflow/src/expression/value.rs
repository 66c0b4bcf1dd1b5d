//! Values while an expression is evaluated. What is JSON stays where it is.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::{Map, Number, Value};

use super::time;

#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    /// A list or an object.
    Json(&'a Value),
    List(Rc<Vec<Self>>),
    Map(Rc<Vec<(String, Self)>>),
    /// Nanoseconds since 1970.
    Time(i128),
    /// Nanoseconds.
    Duration(i128),
    /// The outputs of all nodes.
    Nodes,
}

/// What a JSON value is, for people.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl<'a> Val<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => number.as_i64().map_or_else(
                || Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                Self::Int,
            ),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Json(Value::Array(_)) | Self::List(_) => "list",
            Self::Json(_) | Self::Map(_) | Self::Nodes => "map",
            Self::Time(_) => "timestamp",
            Self::Duration(_) => "duration",
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as JSON's readers do")]
            Self::Int(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// How many elements, entries or characters it has.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::Json(Value::Array(items)) => Some(items.len()),
            Self::Json(Value::Object(fields)) => Some(fields.len()),
            Self::List(items) => Some(items.len()),
            Self::Map(fields) => Some(fields.len()),
            _ => None,
        }
    }

    pub(super) fn element(&self, at: usize) -> Option<Self> {
        match self {
            Self::Json(Value::Array(items)) => items.get(at).map(Self::of),
            Self::List(items) => items.get(at).cloned(),
            _ => None,
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Json(Value::Object(fields)) => fields.get(name).map(Self::of),
            Self::Map(fields) => {
                let mut fields = fields.iter();
                fields
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::from(*value),
            Self::Double(value) => Number::from_f64(*value)
                .map(Value::Number)
                .ok_or_else(|| format!("{value} is no JSON number"))?,
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::Json(value) => (*value).clone(),
            Self::List(items) => {
                Value::Array(items.iter().map(Self::json).collect::<Result<_, _>>()?)
            }
            Self::Map(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.json()?)));
                Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
            }
            Self::Time(nanos) => Value::String(time::time_text(*nanos)),
            Self::Duration(nanos) => Value::String(time::duration_text(*nanos)),
            Self::Nodes => return Err("`ctx` as a whole is no value: name a node of it".to_owned()),
        })
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Time(a), Self::Time(b)) | (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => {
                self.number() == other.number()
            }
            _ => match (self.kind(), other.kind()) {
                ("list", "list") => {
                    let size = self.size();
                    size == other.size()
                        && (0..size.unwrap_or(0)).all(|at| {
                            match (self.element(at), other.element(at)) {
                                (Some(a), Some(b)) => a.equals(&b),
                                _ => false,
                            }
                        })
                }
                ("map", "map") => {
                    self.size() == other.size()
                        && self
                            .keys()
                            .iter()
                            .all(|key| match (self.field(key), other.field(key)) {
                                (Some(a), Some(b)) => a.equals(&b),
                                _ => false,
                            })
                }
                _ => false,
            },
        }
    }

    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Json(Value::Object(fields)) => fields.keys().map(String::as_str).collect(),
            Self::Map(fields) => fields.iter().map(|(key, _)| key.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, String> {
        let order = match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) | (Self::Duration(a), Self::Duration(b)) => {
                Some(a.cmp(b))
            }
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => None,
            },
        };
        order.ok_or_else(|| format!("{} and {} cannot be compared", self.kind(), other.kind()))
    }
}
