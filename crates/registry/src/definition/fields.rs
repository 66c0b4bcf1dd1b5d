//! A JSON object whose field names are read in any case, and durations as Go writes them.

use std::time::Duration;

use serde_json::{Map, Value};

/// Longest duration that is read.
const LONGEST: f64 = 1e9;

/// A JSON object whose field names are read in any case, with underscores or without.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn new(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = value else {
            return Err("the body is no JSON object".to_owned());
        };
        let lower = |(name, value): (String, Value)| (name.to_lowercase().replace('_', ""), value);
        Ok(Self(fields.into_iter().map(lower).collect()))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{name} has to be a string")),
        }
    }

    pub(super) fn number(&mut self, name: &str, otherwise: i64) -> Result<i64, String> {
        let Some(value) = self.take(name) else {
            return Ok(otherwise);
        };
        value
            .as_i64()
            .ok_or_else(|| format!("{name} has to be a whole number"))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(format!("{name} has to be a list")),
        }
    }

    pub(super) fn is_true(&mut self, name: &str) -> bool {
        self.take(name) == Some(Value::Bool(true))
    }

    /// Refuses fields that were not read: they are misspelt, or ask for what this registry cannot do. A
    /// field with an empty value is ignored.
    pub(super) fn end(self, ignored: &[&str]) -> Result<(), String> {
        let is_empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        };
        let mut rest = self.0.iter();
        match rest.find(|(name, value)| !ignored.contains(&name.as_str()) && !is_empty(value)) {
            Some((name, _)) => Err(format!("this registry knows no field {name:?}")),
            None => Ok(()),
        }
    }

    pub(super) fn count(&mut self, name: &str) -> Result<u64, String> {
        let number = self.number(name, 0)?;
        u64::try_from(number).map_err(|_| format!("{name} has to be 0 or more"))
    }

    /// `10s`, `1m30s` or `500ms` as Go writes them, or nanoseconds.
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<Duration>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => duration(&text)
                .map(Some)
                .ok_or_else(|| format!("{name} has to be a duration such as 10s, not {text:?}")),
            Some(value) => value
                .as_u64()
                .map(|nanos| Some(Duration::from_nanos(nanos)))
                .ok_or_else(|| format!("{name} has to be a duration such as 10s")),
        }
    }
}

/// A duration as Go writes one: `1h2m3.5s`, `500ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (seconds <= LONGEST).then(|| Duration::from_secs_f64(seconds))
}
