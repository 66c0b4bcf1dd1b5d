//! One row of the table of keys.

use std::{borrow::Cow, time::Duration};

use crate::parse;

/// A configuration key. [`crate::keys!`] makes them.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file; with dashes it is the flag.
    pub name: &'static str,
    /// Its environment variable; the name in upper case when `None`.
    pub env: Option<&'static str>,
    /// Its value when nobody gives one.
    pub default: DefaultValue,
    /// The documentation of its field.
    pub(crate) text: &'static str,
    /// What its value has to be.
    pub kind: Type,
    /// What it counts, such as `calls`; empty where the type says it.
    pub unit: &'static str,
    /// What 0 means; empty where 0 is a value as any other.
    pub zero: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether each called service may have its own value, while the program runs.
    pub per_service: bool,
}

/// A default, as it is written in the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DefaultValue {
    /// As a value is written in the environment.
    Text(&'static str),
    /// A whole number.
    Integer(u64),
    /// A number.
    Number(f64),
}

/// The keys that one part of a program obeys. A program that does not have the part does not have
/// the keys.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading of its table.
    pub title: &'static str,
    /// Why a program does not have these keys, such as `does not call other services`.
    pub lacking: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Names that a key once had.
    pub retired: &'static [Retired],
}

/// A key that is no more. A file, flag or variable that sets it is refused with what to do. Only the
/// variable of a key without a successor is ignored, with a warning.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    /// The old name.
    pub name: &'static str,
    /// What to write in its place, or why to remove it.
    pub advice: &'static str,
    /// Whether something has to be written in its place.
    pub has_successor: bool,
}

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Anything.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of the words that this function gives, in whatever case.
    OneOf(fn() -> Vec<&'static str>),
    /// Yes or no.
    Bool,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// A number within these bounds.
    Number(f64, f64),
    /// A duration of at most this.
    Duration(Duration),
    /// A size of at least so many bytes.
    Size(usize),
    /// Comma separated, or a TOML array.
    List,
    /// What this function accepts, and how to say that.
    Custom(fn(&str) -> bool, &'static str),
}

/// A year: the bound of durations that have no other.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl DefaultValue {
    /// As it is written in the environment.
    #[must_use]
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Number(number) => Cow::Owned(number.to_string()),
        }
    }
}

impl Key {
    /// What it does: sentences on one line.
    #[must_use]
    pub fn about(&self) -> String {
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let mut about = words.join(" ");
        if !self.zero.is_empty() {
            about.push_str(" 0: ");
            about.push_str(self.zero);
            about.push('.');
        }
        about
    }

    /// Its type with its unit and its bounds, in a few words.
    #[must_use]
    pub fn value(&self) -> String {
        let bounds = |min: String, max: String, open: bool| match open {
            true => format!("from {min}"),
            false => format!("{min} to {max}"),
        };
        let number = match self.kind {
            _ if self.is_port() => return "port".to_owned(),
            Type::Integer(min, max) => {
                bounds(min.to_string(), max.to_string(), max >= u64::from(u32::MAX))
            }
            Type::Number(min, max) => bounds(min.to_string(), max.to_string(), max >= 1e6),
            Type::Text => return "text".to_owned(),
            Type::Choice(words) => return words.join(", "),
            Type::OneOf(_) => return "name".to_owned(),
            Type::Bool => return "yes or no".to_owned(),
            Type::Duration(max) if max < LONGEST => {
                return format!("duration, at most {}s", max.as_secs());
            }
            Type::Duration(_) => return "duration".to_owned(),
            Type::Size(0) => return "size".to_owned(),
            Type::Size(least) => return format!("size, at least {least}"),
            Type::List => return "list".to_owned(),
            Type::Custom(_, expected) => return expected.to_owned(),
        };
        match self.unit {
            "" => number,
            unit => format!("{unit}, {number}"),
        }
    }

    /// Whether it is a TCP port.
    #[must_use]
    pub const fn is_port(&self) -> bool {
        matches!(self.kind, Type::Integer(0, max) if max == u16::MAX as u64)
    }

    /// The name of its environment variable.
    #[must_use]
    pub fn env_name(&self) -> String {
        self.env
            .map_or_else(|| self.name.to_uppercase(), str::to_owned)
    }

    /// Its flag, without the two dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Whether a value will do. An empty one means none, where the default is empty too.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        (value.is_empty() && self.default == DefaultValue::Text("")) || self.kind.accepts(value)
    }
}

impl Type {
    /// Whether a value will do.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Text | Self::List => true,
            Self::Choice(words) => words.contains(&value),
            Self::OneOf(words) => words().iter().any(|word| word.eq_ignore_ascii_case(value)),
            Self::Bool => parse::bool(value).is_some(),
            Self::Integer(min, max) => value.parse().is_ok_and(|n: u64| (*min..=*max).contains(&n)),
            Self::Number(min, max) => value.parse().is_ok_and(|n: f64| (*min..=*max).contains(&n)),
            Self::Duration(max) => parse::duration(value).is_some_and(|d| d <= *max),
            Self::Size(least) => parse::size(value).is_some_and(|size| size >= *least),
            Self::Custom(check, _) => check(value),
        }
    }

    /// What to write instead of a value that will not do.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::OneOf(words) => format!("one of {}", words().join(", ")),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Self::Number(min, max) => format!("a number from {min} to {max}"),
            Self::Duration(max) if *max < LONGEST => {
                format!("a duration such as 250ms, at most {}s", max.as_secs())
            }
            Self::Duration(_) => "a duration such as 250ms, 10s or 5m".to_owned(),
            Self::Size(0) => "a size in bytes such as 65536, 64KiB or 4MiB".to_owned(),
            Self::Size(least) => {
                format!("a size in bytes such as 64KiB or 4MiB, at least {least}")
            }
            Self::List => "a list such as a, b".to_owned(),
            Self::Custom(_, expected) => (*expected).to_owned(),
        }
    }
}
