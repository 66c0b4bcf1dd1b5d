//! Reads fields, and collects what is wrong with them.

use serde_json::{Map, Value};

use super::Mistake;
use crate::{expression::Expression, reference};

#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) mistakes: Vec<Mistake>,
}

/// Most mistakes that are told.
const MOST: usize = 100;

impl Reader {
    pub(super) fn wrong(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.mistakes.len() < MOST {
            self.mistakes.push(Mistake {
                path: path.into(),
                message: message.into(),
            });
        }
    }

    /// A field that is there, not null and no reference that is filled in later.
    fn given<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
        let value = object.get(key).filter(|value| !value.is_null())?;
        let later = matches!(value, Value::String(text) if reference::is_reference(text));
        (!later).then_some(value)
    }

    pub(super) fn text<'v>(
        &mut self,
        at: &str,
        object: &'v Map<String, Value>,
        key: &str,
    ) -> Option<&'v str> {
        match Self::given(object, key)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(format!("{at}/{key}"), format!("`{key}` has to be a text"));
                None
            }
        }
    }

    pub(super) fn needs_text(&mut self, at: &str, object: &Map<String, Value>, key: &str) {
        match object.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => {}
            Some(Value::String(_)) => {
                self.wrong(format!("{at}/{key}"), format!("`{key}` is empty"));
            }
            Some(value) if !value.is_null() => {
                self.wrong(format!("{at}/{key}"), format!("`{key}` has to be a text"));
            }
            _ => self.wrong(format!("{at}/{key}"), format!("`{key}` is missing")),
        }
    }

    pub(super) fn flag(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        key: &str,
    ) -> Option<bool> {
        match Self::given(object, key)? {
            Value::Bool(value) => Some(*value),
            _ => {
                let message = format!("`{key}` has to be true or false");
                self.wrong(format!("{at}/{key}"), message);
                None
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn whole(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = Self::given(object, key)?;
        let whole = value.as_u64().or_else(|| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked"
            )]
            (0.0..=9e15).contains(&number).then_some(number as u64)
        });
        match whole {
            Some(whole) if range.contains(&whole) => Some(whole),
            _ => {
                let message = format!(
                    "`{key}` has to be a whole number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.wrong(format!("{at}/{key}"), message);
                None
            }
        }
    }

    pub(super) fn number(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        key: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = Self::given(object, key)?;
        match value.as_f64() {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!(
                    "`{key}` has to be a number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.wrong(format!("{at}/{key}"), message);
                None
            }
        }
    }

    pub(super) fn one_of<'v>(
        &mut self,
        at: &str,
        object: &'v Map<String, Value>,
        key: &str,
        words: &[&str],
    ) -> Option<&'v str> {
        let value = Self::given(object, key)?;
        let known = value.as_str().filter(|word| words.contains(word));
        if known.is_none() {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            let message = format!("`{key}` has to be one of {}", words.join(", "));
            self.wrong(format!("{at}/{key}"), message);
        }
        known
    }

    pub(super) fn object<'v>(
        &mut self,
        at: &str,
        object: &'v Map<String, Value>,
        key: &str,
    ) -> Option<&'v Map<String, Value>> {
        let value = Self::given(object, key)?;
        let found = value.as_object();
        if found.is_none() {
            self.wrong(
                format!("{at}/{key}"),
                format!("`{key}` has to be an object"),
            );
        }
        found
    }

    /// A list of texts; one text counts as a list of it.
    pub(super) fn texts(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        key: &str,
    ) -> Option<Vec<String>> {
        let value = Self::given(object, key)?;
        let texts = match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect()
            }
            _ => None,
        };
        if texts.is_none() {
            let message = format!("`{key}` has to be a list of texts");
            self.wrong(format!("{at}/{key}"), message);
        }
        texts
    }

    pub(super) fn expression(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        key: &str,
        names: &[&str],
    ) -> Option<Expression> {
        let value = object.get(key).filter(|value| !value.is_null())?;
        let Value::String(text) = value else {
            let message = format!("`{key}` has to be an expression, a text");
            self.wrong(format!("{at}/{key}"), message);
            return None;
        };
        if text.trim().is_empty() {
            return None;
        }
        match Expression::parse_with(text, names) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.wrong(format!("{at}/{key}"), error.to_string());
                None
            }
        }
    }
}
