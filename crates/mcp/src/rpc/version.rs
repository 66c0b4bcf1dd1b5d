//! The revisions of the protocol, and the two eras that they make.

use std::fmt;

/// A revision that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2024-11-05: an SSE stream, and messages beside it.
    V2024_11_05,
    /// 2025-03-26: one endpoint; batches.
    V2025_03_26,
    /// 2025-06-18: structured results; the version in a header.
    V2025_06_18,
    /// 2025-11-25: the last one with a handshake and sessions.
    V2025_11_25,
    /// 2026-07-28: each request stands for itself.
    V2026_07_28,
}

impl Version {
    /// Every revision, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];
    /// The newest that `initialize` can agree on.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// What a request without a version speaks, by the revision that brought the header.
    pub const UNSAID: Self = Self::V2025_03_26;

    /// As it stands in messages and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// Whether requests carry their version and capabilities, and there is no handshake.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// Whether a body may be a batch.
    #[must_use]
    pub fn has_batches(self) -> bool {
        self <= Self::V2025_03_26
    }

    /// Its era.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            legacy => Era::Legacy(legacy),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Whether a client begins with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// A handshake, and a session after it.
    Legacy(Version),
    /// Neither.
    Modern,
}

impl Era {
    /// Whether there is no handshake.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::Modern)
    }

    /// The revision.
    #[must_use]
    pub const fn version(self) -> Version {
        match self {
            Self::Legacy(version) => version,
            Self::Modern => Version::V2026_07_28,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_revision_is_modern() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
            assert_eq!(version.is_modern(), version > Version::LATEST_LEGACY);
            assert_eq!(version.era().version(), version);
        }
        assert_eq!(Version::parse("2026-07-29"), None);
        assert!(Version::V2025_03_26.has_batches() && !Version::V2025_06_18.has_batches());
    }
}
