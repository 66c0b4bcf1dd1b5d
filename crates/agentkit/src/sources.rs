//! How the pipeline's documents cite. `— [1]` follows a quotation or a code block. At the end, under
//! `## Sources`, each source has a line such as `- [1] running.md:12-18` or `- [2] https://…`.

mod document;
mod passage;
mod source;

pub use document::{Claim, Document, Quote};
pub use passage::{DocHit, DocSearchResults, Passage, WebHit, WebSearchResults};
pub use source::{HEADING, InvalidSource, Source};

/// The sources of a document while it is written. Each has one number.
///
/// ```
/// use mesh_agentkit::sources::Citations;
///
/// let mut citations = Citations::default();
/// let source = "running.md:12-18".parse()?;
/// assert_eq!(citations.number(&source), 1);
/// assert_eq!(citations.list(), "## Sources\n\n- [1] running.md:12-18\n");
/// # Ok::<_, mesh_agentkit::sources::InvalidSource>(())
/// ```
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
