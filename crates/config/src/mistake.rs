//! What is wrong with a configuration: all of it, with where and what is expected.

use std::fmt;

use super::Source;

/// One wrong value or unknown key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, or what stands in its place.
    pub key: String,
    /// Its value as given; `None` for a secret, and where there is none.
    pub value: Option<String>,
    /// Where it stands.
    pub source: Source,
    /// What is expected there.
    pub expected: String,
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
