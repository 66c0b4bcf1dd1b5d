//! How much is logged: one level for our own code, at most `warn` for noisy dependencies, and a
//! handle to change it while the process runs.

use std::{fmt, str::FromStr, sync::OnceLock};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, filter::Targets, reload};

use crate::Error;

/// Libraries that say at `info` and `debug` what only their authors want to read.
pub(crate) const NOISY: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "opentelemetry_otlp",
    "reqwest",
    "tonic",
    "tower",
    "want",
];

/// Libraries that log each error which they also return: whoever gets it tells it, once.
pub(crate) const SILENT: &[&str] = &["consulrs", "rustify"];

static CURRENT: OnceLock<Current> = OnceLock::new();

/// How much to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what needs somebody's attention.
    Error,
    /// And what the process coped with by itself.
    Warn,
    /// And what it did.
    #[default]
    Info,
    /// And how.
    Debug,
}

#[derive(Debug)]
struct Current {
    level: Mutex<LogLevel>,
    filter: reload::Handle<Targets, Registry>,
}

impl LogLevel {
    /// The levels with their names, as `LOG_LEVEL` and `/log-level` take them.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Warn, "warn"),
        (Self::Error, "error"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }

    /// What passes at this level.
    pub(crate) fn targets(self) -> Targets {
        let quiet = self.filter().min(LevelFilter::WARN);
        Targets::new()
            .with_default(self.filter())
            .with_targets(NOISY.iter().map(|target| (*target, quiet)))
            .with_targets(SILENT.iter().map(|target| (*target, LevelFilter::OFF)))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name.trim()))
            .map(|(level, _)| *level)
            .ok_or_else(|| "expected debug, info, warn or error".to_owned())
    }
}

/// The level of the process's log; `None` before [`init`](crate::init).
#[must_use]
pub fn log_level() -> Option<LogLevel> {
    CURRENT.get().map(|current| *current.level.lock())
}

/// Changes the level of the process's log from now on.
///
/// # Errors
/// [`Error::NotInitialised`] before [`init`](crate::init).
pub fn set_log_level(level: LogLevel) -> Result<(), Error> {
    let current = CURRENT.get().ok_or(Error::NotInitialised)?;
    let mut held = current.level.lock();
    current
        .filter
        .reload(level.targets())
        .map_err(|_| Error::NotInitialised)?;
    *held = level;
    Ok(())
}

/// Remembers the log's filter, for [`set_log_level`].
pub(crate) fn remember(level: LogLevel, filter: reload::Handle<Targets, Registry>) {
    // A second `init` fails before it comes here.
    CURRENT.get_or_init(|| Current {
        level: Mutex::new(level),
        filter,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noisy_dependencies_stay_at_warn() {
        let debug = LogLevel::Debug.targets();
        assert!(debug.would_enable("echo_agent", &tracing::Level::DEBUG));
        assert!(debug.would_enable("h2::client", &tracing::Level::WARN));
        assert!(!debug.would_enable("h2::client", &tracing::Level::INFO));
        assert!(
            !LogLevel::Error
                .targets()
                .would_enable("h2::client", &tracing::Level::WARN)
        );
    }

    #[test]
    fn names_are_read_back() {
        for (level, name) in LogLevel::ALL {
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(level.to_string(), name);
        }
        assert!("verbose".parse::<LogLevel>().is_err());
    }
}
