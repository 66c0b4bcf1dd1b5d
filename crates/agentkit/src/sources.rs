//! How the pipeline's documents cite: a quotation or a code block, beneath it `— [1]`, and at the
//! end, under `## Sources`, a line `- [1] running.md:12-18` or `- [2] https://…` for each.

mod document;
mod passage;

pub use document::{Claim, Document, Quote};
pub use passage::{DocHit, DocSearchResults, Passage, WebHit, WebSearchResults};

use std::{fmt, str::FromStr};

/// The heading of the list of sources.
pub const HEADING: &str = "## Sources";

/// Where something is said.
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

/// A text that is no [`Source`].
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

/// The sources of a document while it is written: each gets a number once.
#[derive(Clone, Debug, Default)]
pub struct Citations(Vec<Source>);

impl Citations {
    /// The number of a source, from 1.
    pub fn number(&mut self, source: &Source) -> usize {
        match self.0.iter().position(|known| known == source) {
            Some(index) => index + 1,
            None => {
                self.0.push(source.clone());
                self.0.len()
            }
        }
    }

    /// A numbered item for a model to cite: the number of its source, its heading and its text.
    pub fn item(&mut self, source: &Source, heading: &str, text: &str) -> String {
        format!("[{}] {heading}\n{text}\n\n", self.number(source))
    }

    /// The list for the end of the document.
    #[must_use]
    pub fn list(&self) -> String {
        let numbered = self.0.iter().enumerate();
        let lines = numbered.map(|(index, source)| format!("- [{}] {source}\n", index + 1));
        let lines: String = lines.collect();
        match self.0.is_empty() {
            true => format!("{HEADING}\n\n_None._\n"),
            false => format!("{HEADING}\n\n{lines}"),
        }
    }
}

/// Remarks about the document itself, each a line in italics.
#[must_use]
pub fn remarks(remarks: &[String]) -> String {
    let lines = remarks.iter().map(|remark| remark.replace('\n', " "));
    lines.map(|line| format!("_{line}_\n\n")).collect()
}

/// A text as a quotation of Markdown.
#[must_use]
pub fn quote(text: &str) -> String {
    text.lines()
        .map(|line| format!("> {line}").trim_end().to_owned() + "\n")
        .collect()
}

/// A text as a code block between fences of more backquotes than it contains in a row.
#[must_use]
pub fn code_block(text: &str) -> String {
    let mut longest = 0;
    let mut row = 0;
    for c in text.chars() {
        row = if c == '`' { row + 1 } else { 0 };
        longest = longest.max(row);
    }
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}\n{}\n{fence}\n", text.trim_end())
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

    #[test]
    fn each_source_has_one_number() {
        let mut citations = Citations::default();
        let (one, two) = ("a.md:1".parse().unwrap(), "a.md:2".parse().unwrap());
        assert_eq!([&one, &two, &one].map(|s| citations.number(s)), [1, 2, 1]);
        assert_eq!(
            citations.list(),
            "## Sources\n\n- [1] a.md:1\n- [2] a.md:2\n"
        );
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(code_block("a"), "```\na\n```\n");
        assert_eq!(code_block("```\nx\n```"), "````\n```\nx\n```\n````\n");
    }
}
