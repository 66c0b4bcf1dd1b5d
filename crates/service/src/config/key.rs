//! One row of the table of keys.

use std::{borrow::Cow, time::Duration};

use super::parse;

/// A configuration key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in the file; with dashes it is the flag.
    pub name: &'static str,
    /// Its environment variable; the name in upper case when `None`.
    pub env: Option<&'static str>,
    /// Its value when nobody gives one, written as in the environment.
    pub default: Cow<'static, str>,
    /// What it does, in one phrase.
    pub about: &'static str,
    /// What its value has to be.
    pub kind: Type,
    /// Whether its value is never shown.
    pub secret: bool,
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
    /// A size in bytes.
    Size,
    /// A size of at least so many bytes.
    SizeFrom(usize),
    /// Comma separated, or a TOML array.
    List,
    /// `a=1, b=2`, or a TOML table.
    Pairs,
    /// What this function accepts, and how to say that.
    Custom(fn(&str) -> bool, &'static str),
}

/// A year: the bound of durations that have no other.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Key {
    /// A key of any type.
    #[must_use]
    pub const fn new(
        name: &'static str,
        kind: Type,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            env: None,
            default: Cow::Borrowed(default),
            about,
            kind,
            secret: false,
        }
    }

    /// A key that takes any text.
    #[must_use]
    pub const fn text(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::Text, default, about)
    }

    /// A switch.
    #[must_use]
    pub const fn bool(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::Bool, default, about)
    }

    /// A duration of at most a year.
    #[must_use]
    pub const fn duration(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::Duration(LONGEST), default, about)
    }

    /// A size in bytes.
    #[must_use]
    pub const fn size(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::Size, default, about)
    }

    /// A size that has a least value, in bytes.
    #[must_use]
    pub const fn size_from(
        name: &'static str,
        least: usize,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self::new(name, Type::SizeFrom(least), default, about)
    }

    /// A TCP port, 0 included.
    #[must_use]
    pub const fn port(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::Integer(0, u16::MAX as u64), default, about)
    }

    /// A list.
    #[must_use]
    pub const fn list(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, Type::List, default, about)
    }

    /// The same key with an environment variable of another name.
    #[must_use]
    pub const fn with_env(mut self, env: &'static str) -> Self {
        self.env = Some(env);
        self
    }

    /// The same key, never shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// One table of several, for a program that has the keys of others beside its own; `N` is how
    /// many there are in all.
    ///
    /// # Panics
    /// When `N` is another number, at compile time where the table is a constant.
    #[must_use]
    pub const fn join<const N: usize>(tables: &[&[Self]]) -> [Self; N] {
        let mut keys = [const { Self::text("", "", "") }; N];
        let (mut at, mut table) = (0, 0);
        while table < tables.len() {
            let mut row = 0;
            while row < tables[table].len() {
                // A destructor cannot run here, and the empty row needs none.
                let empty = std::mem::replace(&mut keys[at], tables[table][row].copied());
                std::mem::forget(empty);
                (at, row) = (at + 1, row + 1);
            }
            table += 1;
        }
        assert!(at == N, "N is not how many keys there are");
        keys
    }

    /// The rows of tables borrow their defaults.
    const fn copied(&self) -> Self {
        let default = match &self.default {
            Cow::Borrowed(default) => default,
            Cow::Owned(_) => "",
        };
        let mut copied = Self::new(self.name, self.kind, default, self.about);
        copied.env = self.env;
        copied.secret = self.secret;
        copied
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
}

impl Type {
    /// Whether a value will do. An empty text, choice or custom value means none, and is taken
    /// where the default is empty too: the loader sees to that.
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
            Self::Size => parse::size(value).is_some(),
            Self::SizeFrom(least) => parse::size(value).is_some_and(|size| size >= *least),
            Self::Pairs => parse::pairs(value).is_some(),
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
            Self::Size => "a size in bytes such as 65536, 64KiB or 4MiB".to_owned(),
            Self::SizeFrom(least) => {
                format!("a size in bytes such as 64KiB or 4MiB, at least {least}")
            }
            Self::List => "a list such as a, b".to_owned(),
            Self::Pairs => "pairs such as a=1, b=2".to_owned(),
            Self::Custom(_, expected) => (*expected).to_owned(),
        }
    }
}
