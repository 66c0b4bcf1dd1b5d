//! The parameters of a request: texts by name, read one by one.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
};

use chrono::NaiveDate;

use crate::text::shorten;

/// The parameters of a request, in the order of their names.
///
/// ```
/// let parameters: mesh_agentkit::Parameters = [("days", "5")].into_iter().collect();
/// assert_eq!(parameters.integer("days", 1..=16, 3)?, 5);
/// let error = parameters.integer("days", 1..=3, 3).unwrap_err();
/// assert_eq!(error.to_string(), "parameter `days` is \"5\": give a whole number from 1 to 3");
/// # Ok::<_, mesh_agentkit::InvalidParameter>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<String, String>);

/// A parameter that is missing or not valid. The text says what to give.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParameter(String);

impl InvalidParameter {
    /// ``parameter `days` is "0": give a whole number from 1 to 16``, for the problem `is "0"`.
    #[must_use]
    pub fn new(name: &str, problem: impl Display, expected: impl Display) -> Self {
        Self(format!("parameter `{name}` {problem}: give {expected}"))
    }

    /// A parameter with a value that is not valid.
    #[must_use]
    pub fn value(name: &str, given: &str, expected: impl Display) -> Self {
        Self::new(name, format_args!("is {:?}", shorten(given)), expected)
    }

    /// A parameter that is not there.
    #[must_use]
    pub fn missing(name: &str, expected: impl Display) -> Self {
        Self::new(name, "is missing", expected)
    }
}

impl Parameters {
    /// The parameters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a parameter, not trimmed.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a parameter, not trimmed.
    ///
    /// # Errors
    /// When it is not there; `expected` completes "give …".
    pub fn required(&self, name: &str, expected: &str) -> Result<&str, InvalidParameter> {
        let value = self.get(name);
        value.ok_or_else(|| InvalidParameter::missing(name, expected))
    }

    /// The value of a parameter, trimmed; `None` for one that is absent or empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        let value = self.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    /// A text of 1 to `limit` bytes, trimmed.
    ///
    /// # Errors
    /// When it is missing, empty or longer; `expected` completes "give …".
    pub fn text(&self, name: &str, expected: &str, limit: usize) -> Result<&str, InvalidParameter> {
        let text = self.optional(name);
        let text = text.ok_or_else(|| InvalidParameter::missing(name, expected))?;
        match text.len() <= limit {
            true => Ok(text),
            false => Err(InvalidParameter::new(
                name,
                format_args!("has {} bytes", text.len()),
                format_args!("at most {limit} bytes"),
            )),
        }
    }

    /// One of `choices`; `None` when it is not given.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn choice(&self, name: &str, choices: &[&str]) -> Result<Option<&str>, InvalidParameter> {
        match self.optional(name) {
            Some(given) if !choices.contains(&given) => {
                let expected = format!("one of {}", choices.join(", "));
                Err(InvalidParameter::value(name, given, expected))
            }
            given => Ok(given),
        }
    }

    /// A whole number within `bounds`, `default` when it is not given.
    ///
    /// # Errors
    /// When it is no number or out of bounds.
    pub fn integer<N: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        bounds: RangeInclusive<N>,
        default: N,
    ) -> Result<N, InvalidParameter> {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            let (least, most) = bounds.into_inner();
            let expected = format_args!("a whole number from {least} to {most}").to_string();
            InvalidParameter::value(name, text, expected)
        })
    }

    /// A date as `YYYY-MM-DD`; `None` when it is not given.
    ///
    /// # Errors
    /// When it is no such date.
    pub fn date(&self, name: &str) -> Result<Option<NaiveDate>, InvalidParameter> {
        let Some(text) = self.optional(name) else {
            return Ok(None);
        };
        // Ten characters: chrono reads years up to 262142, and the days after that overflow.
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
        let date = date.filter(|_| text.len() == 10);
        date.map(Some)
            .ok_or_else(|| InvalidParameter::value(name, text, "a date as YYYY-MM-DD"))
    }
}

impl From<HashMap<String, String>> for Parameters {
    fn from(parameters: HashMap<String, String>) -> Self {
        Self(parameters.into_iter().collect())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_taken_says_what_would_be() {
        let given = [
            ("days", "17"),
            ("kind", "prose"),
            ("start", "262142-12-31"),
            ("empty", " "),
        ];
        let given: Parameters = given.into_iter().collect();
        let text = |error: InvalidParameter| error.to_string();
        assert_eq!(
            given.integer("days", 1..=16, 3).map_err(text),
            Err("parameter `days` is \"17\": give a whole number from 1 to 16".to_owned())
        );
        assert_eq!(
            given.choice("kind", &["text", "code"]).map_err(text),
            Err("parameter `kind` is \"prose\": give one of text, code".to_owned())
        );
        assert_eq!(
            given.date("start").map_err(text),
            Err("parameter `start` is \"262142-12-31\": give a date as YYYY-MM-DD".to_owned())
        );
        assert_eq!(
            given.text("empty", "a word", 9).map_err(text),
            Err("parameter `empty` is missing: give a word".to_owned())
        );
        assert_eq!(
            given.text("kind", "a word", 3).map_err(text),
            Err("parameter `kind` has 5 bytes: give at most 3 bytes".to_owned())
        );
        assert_eq!(given.required("empty", "a word").map_err(text), Ok(" "));
    }

    #[test]
    fn what_is_not_given_has_its_default_and_an_endless_value_is_not_repeated() {
        let endless = "9".repeat(1 << 20);
        let given: Parameters = [("n", endless.as_str())].into_iter().collect();
        assert_eq!(given.integer("days", 1..=16, 3).ok(), Some(3));
        assert_eq!(given.choice("kind", &["text"]).ok(), Some(None));
        assert_eq!(given.date("start").ok(), Some(None));
        let error = given.integer("n", 1..=16, 3).unwrap_err().to_string();
        assert!(error.len() < 300, "{} bytes", error.len());
    }
}
