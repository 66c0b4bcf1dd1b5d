//! The place of a statement, as documents write it.

use std::{fmt, str::FromStr};

/// The heading of the list of sources.
pub const HEADING: &str = "## Sources";

/// The place of a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Lines of a local document, from 1, both included.
    Doc {
        /// Path beneath the documents' directory.
        file: String,
        /// First line.
        line: usize,
        /// Last line.
        end: usize,
    },
    /// A page of the web.
    Web(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doc { file, line, end } if line == end => write!(f, "{file}:{line}"),
            Self::Doc { file, line, end } => write!(f, "{file}:{line}-{end}"),
            Self::Web(url) => f.write_str(url),
        }
    }
}

/// Why a text is no [`Source`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no source: expected file:line, file:line-line or a URL")]
pub struct InvalidSource(String);

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Web(text.to_owned()));
        }
        let read = || {
            let (file, lines) = text.rsplit_once(':')?;
            let (line, end) = lines.split_once('-').unwrap_or((lines, lines));
            let (line, end) = (line.parse().ok()?, end.parse().ok()?);
            (!file.is_empty() && line >= 1 && end >= line).then(|| Self::Doc {
                file: file.to_owned(),
                line,
                end,
            })
        };
        read().ok_or_else(|| InvalidSource(crate::text::shorten(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_as_it_is_written() {
        for text in [
            "guide/running.md:12-18",
            "a:b.md:3",
            "https://example.org/x:1",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in ["running.md", "running.md:0", "running.md:5-4", ":3", ""] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
