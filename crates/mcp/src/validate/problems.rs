//! What is wrong with arguments.

use std::fmt;

/// Problems that one error names.
const MAX_PROBLEMS: usize = 10;
/// Characters of a value that are quoted.
const MAX_QUOTED: usize = 60;

/// What is wrong with arguments: a sentence for each mistake, with its path and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError {
    problems: Vec<String>,
    /// Further ones that are not told.
    more: usize,
}

impl ArgumentError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self {
            problems: vec![problem.into()],
            more: 0,
        }
    }

    /// The mistakes.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for ArgumentError {}

/// Collects problems.
#[derive(Debug, Default)]
pub(super) struct Problems {
    problems: Vec<String>,
    more: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: String) {
        match self.problems.len() < MAX_PROBLEMS {
            true => self.problems.push(problem),
            false => self.more += 1,
        }
    }

    /// Whether a further problem is only counted, and needs no words.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn into_error(self) -> ArgumentError {
        ArgumentError {
            problems: self.problems,
            more: self.more,
        }
    }
}

/// A text of the caller, quoted and cut.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        None => format!("{text:?}"),
        Some((at, _)) => format!("{:?}…", &text[..at]),
    }
}

/// A value of the caller, cut.
pub(super) fn shown(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The name that was probably meant.
pub(super) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long names are no slips of the pen, and comparing them takes long.
    if given.len() > 100 {
        return None;
    }
    let plain = |text: &str| -> String {
        let plain = text.chars().filter(|c| c.is_alphanumeric());
        plain.flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(given);
    let rated = names.map(|name| (strsim::damerau_levenshtein(&wanted, &plain(name)), name));
    let close = rated.filter(|(distance, name)| *distance <= (name.len() / 3).min(3));
    close
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Names in a row, cut.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MAX: usize = 20;
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > MAX => format!("{} and {} more", names[..MAX].join(", "), n - MAX),
        _ => names.join(", "),
    }
}
