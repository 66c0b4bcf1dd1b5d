//! The mistakes of a configuration, each with its place and what is expected there.

use std::fmt;

use super::Source;

/// One wrong value or unknown key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, or the name in its place.
    pub key: String,
    /// Its value; `None` for a secret, and where there is none.
    pub value: Option<String>,
    /// Where it is.
    pub source: Source,
    /// What is expected there.
    pub expected: String,
}

impl Mistake {
    /// A mistake at a key.
    #[must_use]
    pub fn new(
        key: impl Into<String>,
        value: Option<String>,
        source: &Source,
        expected: String,
    ) -> Self {
        Self {
            key: key.into(),
            value,
            source: source.clone(),
            expected,
        }
    }
}

/// Every mistake of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " ({}): {}", self.source, self.expected)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "{count} mistake{} in the configuration",
            if count == 1 { "" } else { "s" }
        )?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
