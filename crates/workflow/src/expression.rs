//! Expressions: the conditions of edges and loops, and what computes values.
//!
//! They are CEL, the Common Expression Language. The crate `cel` parses them. They are evaluated here, over JSON by
//! reference, because that crate copies what it reads and has no budget.

mod compile;
mod eval;
mod operations;
mod time;
mod value;

use std::sync::Arc;

use cel::parser::PrattParser;
use serde_json::Value;

use self::compile::Code;
pub(crate) use self::{eval::Context, time::parse_time};

/// Longest text, bytes.
pub const MAX_LENGTH: usize = 2048;
/// Deepest nesting of brackets, and most operators in front of an operand.
pub const MAX_NESTING: usize = 12;
/// Most elements that the macros of one evaluation (`map`, `filter`, `all`, …) may visit.
pub const MAX_ELEMENTS: usize = 10_000;

/// What the names of every expression mean.
pub(crate) const NAMES: [&str; 4] = ["output", "ctx", "inputs", "run"];
/// The names of an expression that a node computes.
pub(crate) const NODE_NAMES: [&str; 5] = ["output", "input", "ctx", "inputs", "run"];
/// The names of an expression over the elements of a list.
pub(crate) const ITEM_NAMES: [&str; 8] = [
    "output", "input", "ctx", "inputs", "run", "item", "value", "index",
];

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    code: Arc<Code>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A text that is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub struct ExpressionError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl Expression {
    /// Parses an expression that may use `output`, `ctx`, `inputs` and `run`.
    ///
    /// # Errors
    /// With the column: what is wrong, too long, too deep or unknown.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Self::parse_with(text, &NAMES)
    }

    /// Parses an expression that may use these names.
    pub(crate) fn parse_with(text: &str, names: &[&str]) -> Result<Self, ExpressionError> {
        let source = Source::read(text)?;
        let parser = PrattParser::new()
            .max_recursion_depth(48)
            .error_recovery_limit(4)
            .max_expression_node_count(4 * MAX_LENGTH);
        let ast = parser.parse(&source.text).map_err(|errors| {
            let first = errors.errors.first();
            let column = first.map_or(1, |error| usize::try_from(error.pos.1).unwrap_or(1));
            let message = first.map_or("no expression", |error| error.msg.as_str());
            ExpressionError {
                column: source.column(column.max(1)),
                message: message.lines().next().unwrap_or_default().to_owned(),
            }
        })?;
        let code = compile::compile(&ast, names).map_err(|problem| ExpressionError {
            column: problem.name.map_or(1, |name| column_of(text, &name)),
            message: problem.message,
        })?;
        Ok(Self {
            text: text.into(),
            code: Arc::new(code),
        })
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates it with the values of names.
    ///
    /// # Errors
    /// Why it has no value: a missing field, types that do not fit, or too much to do.
    pub fn evaluate(&self, variables: &[(&str, &Value)]) -> Result<Value, String> {
        self.evaluate_in(&Context {
            variables,
            nodes: None,
        })
    }

    /// Evaluates it.
    pub(crate) fn evaluate_in(&self, context: &Context<'_>) -> Result<Value, String> {
        eval::evaluate(&self.code, context).map_err(|message| format!("`{}`: {message}", self.text))
    }

    /// Whether it holds; its value has to be a boolean.
    pub(crate) fn holds(&self, context: &Context<'_>) -> Result<bool, String> {
        match self.evaluate_in(context)? {
            Value::Bool(answer) => Ok(answer),
            other => Err(format!(
                "`{}`: its value is {}, not true or false",
                self.text,
                value::kind(&other)
            )),
        }
    }
}

/// Where a name stands in a text, in characters from 1.
fn column_of(text: &str, name: &str) -> usize {
    let at = text.find(name).unwrap_or(0);
    text.get(..at).map_or(0, |before| before.chars().count()) + 1
}

/// A text that is safe to parse: `$.x` is written as `output.x`.
struct Source {
    text: String,
    /// Columns of `text` with what has to be subtracted from there on.
    shifts: Vec<(usize, usize)>,
}

impl Source {
    fn read(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_LENGTH {
            return Err(ExpressionError {
                column: MAX_LENGTH,
                message: format!(
                    "an expression has at most {MAX_LENGTH} bytes, this has {}",
                    text.len()
                ),
            });
        }
        let chars: Vec<char> = text.chars().collect();
        let mut source = Self {
            text: String::with_capacity(text.len() + 16),
            shifts: Vec::new(),
        };
        let (mut depth, mut unary, mut choices, mut at) = (0_usize, 0_usize, 0_usize, 0_usize);
        while let Some(&char) = chars.get(at) {
            match char {
                '"' | '\'' => {
                    let end = end_of_string(&chars, at);
                    source.text.extend(&chars[at..end]);
                    at = end;
                    unary = 0;
                    continue;
                }
                '$' => {
                    at = source.reference(&chars, at);
                    unary = 0;
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '?' => choices += 1,
                _ => {}
            }
            match char {
                '!' | '-' => unary += 1,
                char if char.is_whitespace() => {}
                _ => unary = 0,
            }
            if depth > MAX_NESTING || unary > MAX_NESTING || choices > MAX_NESTING {
                return Err(ExpressionError {
                    column: at + 1,
                    message: format!("it is too deep: {MAX_NESTING} levels are the most"),
                });
            }
            source.text.push(char);
            at += 1;
        }
        Ok(source)
    }

    /// Writes what `$…` means, and answers where the text goes on.
    fn reference(&mut self, chars: &[char], at: usize) -> usize {
        let rest: String = chars[at + 1..].iter().take(80).collect();
        let (written, taken) = if let Some(rest) = rest.strip_prefix("nodes.") {
            let id: String = rest.chars().take_while(|char| is_id(*char)).collect();
            let taken = 7 + id.chars().count();
            (format!("ctx[\"{id}\"]"), taken)
        } else if rest.starts_with("inputs") {
            ("inputs".to_owned(), 7)
        } else {
            ("output".to_owned(), 1)
        };
        self.text.push_str(&written);
        let length = written.chars().count();
        self.shifts
            .push((self.text.chars().count() + 1, length.saturating_sub(taken)));
        at + taken
    }

    /// The column of the text as it was given.
    fn column(&self, column: usize) -> usize {
        let before = self.shifts.iter().filter(|(from, _)| *from <= column);
        column
            .saturating_sub(before.map(|(_, shift)| shift).sum())
            .max(1)
    }
}

/// Whether an id of a node may have this character.
pub(crate) fn is_id(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '-'
}

/// Where the string literal ends that begins at `at`.
fn end_of_string(chars: &[char], at: usize) -> usize {
    let quote = chars[at];
    let raw = at > 0 && matches!(chars[at - 1], 'r' | 'R');
    let triple = chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote);
    let mut next = if triple { at + 3 } else { at + 1 };
    while let Some(&char) = chars.get(next) {
        if char == '\\' && !raw {
            next += 2;
        } else if char == quote {
            if !triple {
                return next + 1;
            }
            if chars.get(next + 1) == Some(&quote) && chars.get(next + 2) == Some(&quote) {
                return next + 3;
            }
            next += 1;
        } else {
            next += 1;
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests;
