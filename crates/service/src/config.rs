//! Configuration: a table of keys, four layers over each other (defaults < file < environment <
//! flags), and every mistake reported at once. The environment is read here and nowhere else.

mod cli;
mod key;
mod loader;
mod mistake;
mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

pub use cli::{Invocation, from_process};
pub use key::{Key, Type};
pub use loader::{Loader, nearest};
pub use mistake::{Mistake, Mistakes};
pub use parse::{duration, pairs};

pub(crate) use loader::{flatten, unknown};

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table.
    Default,
    /// The configuration file.
    File(String),
    /// An environment variable, by its name.
    Env(String),
    /// A command line flag.
    Flag,
    /// The program that started the service within itself.
    Set,
    /// What the instances of the service announce.
    Meta,
    /// A key of the registry's KV store.
    Kv(String),
}

/// The effective configuration: every key of the table has a checked value.
#[derive(Clone, Debug)]
pub struct Config {
    entries: BTreeMap<&'static str, Entry>,
    file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    value: String,
    source: Source,
}

/// Every variable of the process's environment, for [`Loader::env`]; those that are not UTF-8 are
/// left out.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
            Self::Set => f.write_str("set by the program"),
            Self::Meta => f.write_str("Meta"),
            Self::Kv(key) => write!(f, "KV {key}"),
        }
    }
}

/// The typed readers take a key that is in the table with that type. A program that asks for
/// another one is wrong whatever its configuration, so they panic then, and the first test of it
/// finds that.
impl Config {
    /// The text of a key; empty when there is none.
    ///
    /// # Panics
    /// When the key is not in the table.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let entry = self.entries.get(name);
        &entry
            .unwrap_or_else(|| panic!("configuration key {name:?} is not in the table"))
            .value
    }

    /// The text of a key, `None` when it is empty.
    ///
    /// # Panics
    /// When the key is not in the table.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }

    /// A duration.
    ///
    /// # Panics
    /// When the key is not in the table as a duration.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, parse::duration)
    }

    /// A size in bytes.
    ///
    /// # Panics
    /// When the key is not in the table as a size.
    #[must_use]
    pub fn size(&self, name: &str) -> usize {
        self.read(name, parse::size)
    }

    /// Yes or no.
    ///
    /// # Panics
    /// When the key is not in the table as a switch.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        self.read(name, parse::bool)
    }

    /// A whole number.
    ///
    /// # Panics
    /// When the key is not in the table as a whole number, or not with bounds of `N`'s.
    #[must_use]
    pub fn integer<N: FromStr>(&self, name: &str) -> N {
        self.read(name, |text| text.parse().ok())
    }

    /// A number.
    ///
    /// # Panics
    /// When the key is not in the table as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.read(name, |text| text.parse().ok())
    }

    /// A TCP port.
    ///
    /// # Panics
    /// When the key is not in the table as a port.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        self.read(name, |text| text.parse().ok())
    }

    /// A list; empty entries are left out.
    ///
    /// # Panics
    /// When the key is not in the table.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        parse::list(self.text(name))
    }

    /// Pairs, written `a=1, b=2` or as a TOML table.
    ///
    /// # Panics
    /// When the key is not in the table as pairs.
    #[must_use]
    pub fn pairs(&self, name: &str) -> BTreeMap<String, String> {
        self.read(name, parse::pairs)
    }

    /// Every key with its effective value and source, ordered by name. A secret's value is
    /// replaced; an empty one is shown, since that it is missing is no secret.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &str, &Source)> {
        self.entries.iter().map(|(name, entry)| {
            let hidden = entry.key.secret && !entry.value.is_empty();
            (
                *name,
                if hidden {
                    "(secret)"
                } else {
                    entry.value.as_str()
                },
                &entry.source,
            )
        })
    }

    /// The file that it was read from, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// Where the value of a key comes from.
    pub(crate) fn source(&self, name: &str) -> Source {
        let entry = self.entries.get(name);
        entry.map_or(Source::Default, |entry| entry.source.clone())
    }

    /// The same with other values, which the keys' types accept.
    pub(crate) fn with(
        &self,
        values: impl Iterator<Item = (&'static str, String, Source)>,
    ) -> Self {
        let mut config = self.clone();
        for (name, value, source) in values {
            if let Some(entry) = config.entries.get_mut(name) {
                (entry.value, entry.source) = (value, source);
            }
        }
        config
    }

    fn read<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> T {
        let text = self.text(name);
        parse(text).unwrap_or_else(|| panic!("configuration key {name:?} has another type"))
    }
}

/// Whether a switch that was checked is on.
pub(crate) fn is_true(value: &str) -> bool {
    parse::bool(value).unwrap_or(false)
}
