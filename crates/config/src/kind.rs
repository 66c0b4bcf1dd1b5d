//! What the rows of [`crate::keys!`] are written with: a type, a default and bounds in one.

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use crate::{DefaultValue, Key, Secret, Type, key::LONGEST, parse};

/// The type of a key whose field is a `T`.
#[derive(Clone, Copy, Debug)]
pub struct Kind<T> {
    row: Key,
    pub(crate) parse: fn(&str) -> Option<T>,
}

/// A whole number that a key may be.
pub trait Whole: FromStr {
    /// The largest one.
    const MAX: u64;
}

/// A closed set of words. [`crate::choice!`] implements it.
pub trait Choice: Sized + 'static {
    /// Every word.
    const WORDS: &'static [&'static str];

    /// The value of a word.
    fn of(word: &str) -> Option<Self>;
}

macro_rules! whole {
    ($($number:ty),*) => { $(
        impl Whole for $number {
            const MAX: u64 = <$number>::MAX as u64;
        }
    )* };
}
whole!(u8, u16, u32, u64, usize);

const fn kind<T>(kind: Type, default: DefaultValue, parse: fn(&str) -> Option<T>) -> Kind<T> {
    let row = Key {
        name: "",
        env: None,
        default,
        text: "",
        kind,
        unit: "",
        zero: "",
        secret: false,
        per_service: false,
    };
    Kind { row, parse }
}

fn from_str<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn some<T: FromStr>(text: &str) -> Option<Option<T>> {
    match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

/// Any text.
#[must_use]
pub const fn text(default: &'static str) -> Kind<String> {
    kind(Type::Text, DefaultValue::Text(default), from_str)
}

/// Any text; `None` by default, and when it is empty.
#[must_use]
pub const fn optional() -> Kind<Option<String>> {
    kind(Type::Text, DefaultValue::Text(""), some)
}

/// A path; `None` by default, and when it is empty.
#[must_use]
pub const fn path() -> Kind<Option<PathBuf>> {
    kind(Type::Text, DefaultValue::Text(""), some)
}

/// A folder.
#[must_use]
pub const fn folder(default: &'static str) -> Kind<PathBuf> {
    kind(Type::Text, DefaultValue::Text(default), from_str)
}

/// A text that is never shown; `None` by default, and when it is empty.
#[must_use]
pub const fn secret() -> Kind<Option<Secret>> {
    let mut kind = kind(Type::Text, DefaultValue::Text(""), some);
    kind.row.secret = true;
    kind
}

/// A comma separated list, or a TOML array.
#[must_use]
pub const fn list() -> Kind<Vec<String>> {
    kind(Type::List, DefaultValue::Text(""), |text| {
        Some(parse::list(text))
    })
}

/// A switch: `yes` or `no`, `true` or `false`.
#[must_use]
pub const fn switch(default: &'static str) -> Kind<bool> {
    kind(Type::Bool, DefaultValue::Text(default), parse::bool)
}

/// One word of a closed set.
#[must_use]
pub const fn choice<T: Choice>(default: &'static str) -> Kind<T> {
    kind(Type::Choice(T::WORDS), DefaultValue::Text(default), T::of)
}

/// One word of a closed set, for a type of another crate.
#[must_use]
pub const fn word<T>(
    default: &'static str,
    words: &'static [&'static str],
    parse: fn(&str) -> Option<T>,
) -> Kind<T> {
    kind(Type::Choice(words), DefaultValue::Text(default), parse)
}

/// One of the words of a table, in whatever case; `None` by default, and when it is empty.
#[must_use]
pub const fn one_of(words: fn() -> Vec<&'static str>) -> Kind<Option<String>> {
    kind(Type::OneOf(words), DefaultValue::Text(""), some)
}

/// A whole number, and what it counts.
///
/// # Panics
/// At compile time, when `N` does not hold the bounds or they do not hold the default.
#[must_use]
pub const fn integer<N: Whole>(
    default: u64,
    bounds: RangeInclusive<u64>,
    unit: &'static str,
) -> Kind<N> {
    let (min, max) = (*bounds.start(), *bounds.end());
    assert!(min <= default && default <= max && max <= N::MAX);
    let mut kind = kind(
        Type::Integer(min, max),
        DefaultValue::Integer(default),
        from_str::<N>,
    );
    kind.row.unit = unit;
    kind
}

/// A TCP port.
#[must_use]
pub const fn port(default: u64) -> Kind<u16> {
    integer(default, 0..=65535, "")
}

/// A TCP port; `None` by default, and when it is empty.
#[must_use]
pub const fn optional_port() -> Kind<Option<u16>> {
    kind(Type::Integer(0, 65535), DefaultValue::Text(""), some).zero("the system chooses")
}

/// A number, and what it counts.
#[must_use]
pub const fn number(default: f64, bounds: RangeInclusive<f64>, unit: &'static str) -> Kind<f64> {
    let kind_of = Type::Number(*bounds.start(), *bounds.end());
    let mut kind = kind(kind_of, DefaultValue::Number(default), from_str);
    kind.row.unit = unit;
    kind
}

/// A number; `None` by default, and when it is 0 or empty.
#[must_use]
pub const fn optional_number(
    default: DefaultValue,
    bounds: RangeInclusive<f64>,
    unit: &'static str,
) -> Kind<Option<f64>> {
    let kind_of = Type::Number(*bounds.start(), *bounds.end());
    let mut kind = kind(kind_of, default, |text| {
        Some(some::<f64>(text)?.filter(|number| *number > 0.0))
    });
    kind.row.unit = unit;
    kind
}

/// A duration of at most a year.
#[must_use]
pub const fn duration(default: &'static str) -> Kind<Duration> {
    kind(
        Type::Duration(LONGEST),
        DefaultValue::Text(default),
        parse::duration,
    )
}

/// A size in bytes.
#[must_use]
pub const fn size(default: &'static str) -> Kind<usize> {
    kind(Type::Size(0), DefaultValue::Text(default), parse::size)
}

/// What a function of the program parses; `accepts` says whether it would, and `expected` how such
/// a value is written.
#[must_use]
pub const fn checked<T>(
    default: &'static str,
    parse: fn(&str) -> Option<T>,
    accepts: fn(&str) -> bool,
    expected: &'static str,
) -> Kind<T> {
    kind(
        Type::Custom(accepts, expected),
        DefaultValue::Text(default),
        parse,
    )
}

impl<T> Kind<T> {
    /// What 0 means.
    #[must_use]
    pub const fn zero(mut self, meaning: &'static str) -> Self {
        self.row.zero = meaning;
        self
    }

    /// Its value is never shown: it may hold passwords.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.row.secret = true;
        self
    }

    /// A key whose name is not its field's.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.row.name = name;
        self
    }

    /// An environment variable of another name.
    #[must_use]
    pub const fn env(mut self, name: &'static str) -> Self {
        self.row.env = Some(name);
        self
    }

    /// Each called service may have its own value, while the program runs.
    #[must_use]
    pub const fn per_service(mut self) -> Self {
        self.row.per_service = true;
        self
    }

    /// Only what a function accepts, and how to say that.
    #[must_use]
    pub const fn only(mut self, accepts: fn(&str) -> bool, expected: &'static str) -> Self {
        self.row.kind = Type::Custom(accepts, expected);
        self
    }

    /// A duration of at most so many seconds, or a size of at least so many bytes.
    #[must_use]
    pub const fn bounded_by(mut self, bound: u64) -> Self {
        self.row.kind = match self.row.kind {
            Type::Duration(_) => Type::Duration(Duration::from_secs(bound)),
            Type::Size(_) => Type::Size(bound as usize),
            other => other,
        };
        self
    }

    /// The row of the table, with the name and the documentation of its field.
    #[doc(hidden)]
    #[must_use]
    pub const fn key(&self, name: &'static str, text: &'static str) -> Key {
        let mut key = self.row;
        key.name = self.name(name);
        key.text = text;
        key
    }

    /// The key's name, which is its field's unless it says otherwise.
    #[doc(hidden)]
    #[must_use]
    pub const fn name(&self, field: &'static str) -> &'static str {
        match self.row.name.is_empty() {
            true => field,
            false => self.row.name,
        }
    }

    pub(crate) fn default_text(&self) -> std::borrow::Cow<'static, str> {
        self.row.default.text()
    }
}
