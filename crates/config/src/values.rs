//! The effective values of a program.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{Key, Kind, parse};

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table of keys.
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

/// The effective configuration: every key of the program with a checked value. A struct of
/// [`crate::keys!`] reads it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) entries: BTreeMap<&'static str, Entry>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// Every variable of the process's environment, for [`crate::Loader::env`]; those that are not
/// UTF-8 are left out.
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

impl Config {
    /// Every key with its effective value and source, ordered by name. A secret's value is
    /// replaced; an empty one is shown, since that it is missing is no secret.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &str, &Source)> {
        self.entries.iter().map(|(name, entry)| {
            let hidden = entry.key.secret && !entry.value.is_empty();
            let value = if hidden { "(secret)" } else { &*entry.value };
            (*name, value, &entry.source)
        })
    }

    /// What was ignored, and why: to be logged once there is a log.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The file that it was read from, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// The same with other values, which the keys' types accept.
    #[must_use]
    pub fn with(&self, values: impl Iterator<Item = (&'static str, String, Source)>) -> Self {
        let mut config = self.clone();
        for (name, value, source) in values {
            if let Some(entry) = config.entries.get_mut(name) {
                (entry.value, entry.source) = (value, source);
            }
        }
        config
    }

    /// The value of one field of a struct of [`crate::keys!`], which alone calls this. The loader
    /// has checked the text, and the default where there is none.
    #[doc(hidden)]
    #[must_use]
    pub fn read<T: Default>(&self, name: &str, kind: &Kind<T>) -> T {
        let entry = self.entries.get(name);
        let given = entry.and_then(|entry| (kind.parse)(&entry.value));
        given
            .or_else(|| (kind.parse)(&kind.default_text()))
            .unwrap_or_default()
    }
}

/// Whether the text of a switch that was checked says yes.
#[must_use]
pub fn is_true(value: &str) -> bool {
    parse::bool(value).unwrap_or(false)
}
