//! A parser of the pipeline's documents: what they quote, claim and cite.

use std::collections::BTreeMap;

use super::source::{HEADING, Source};

/// A parsed document.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Its sources by number.
    pub sources: BTreeMap<usize, Source>,
    /// Its quotations and code blocks.
    pub quotes: Vec<Quote>,
    /// Its own statements: lines that are no heading, quotation, remark or source.
    pub claims: Vec<Claim>,
    /// Its headings, without the hashes.
    pub headings: Vec<String>,
}

/// A quotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The line it begins on, from 1.
    pub line: usize,
    /// The quoted text.
    pub text: String,
    /// The number of its source, if it names one.
    pub cites: Option<usize>,
    /// The heading above it; empty without one.
    pub heading: String,
    /// Whether it is a code block.
    pub code: bool,
}

/// A statement of the document itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its line, from 1.
    pub line: usize,
    /// What is said.
    pub text: String,
    /// The numbers of the sources it names.
    pub cites: Vec<usize>,
}

impl Document {
    /// Parses a document.
    #[must_use]
    pub fn parse(markdown: &str) -> Self {
        let mut document = Self::default();
        let (mut in_sources, mut in_comment) = (false, false);
        let mut fence: Option<(&str, Quote)> = None;
        // Whether the last line belongs to a quotation that may continue.
        let mut open = false;
        for (index, raw) in markdown.lines().enumerate() {
            let (line, text) = (index + 1, raw.trim());
            if let Some((mark, mut code)) = fence.take() {
                if text.starts_with(mark) && text.chars().all(|c| c == '`') {
                    document.quotes.push(code);
                } else {
                    code.text.push_str(raw);
                    code.text.push('\n');
                    fence = Some((mark, code));
                }
                continue;
            }
            if let Some(quoted) = text.strip_prefix('>') {
                document.quoted(line, quoted.strip_prefix(' ').unwrap_or(quoted), open);
                open = true;
                continue;
            }
            open = false;
            if text.starts_with("```") {
                let length = text.len() - text.trim_start_matches('`').len();
                let code = document.begin(line, "", true);
                fence = Some((&text[..length], code));
            } else if text.starts_with("<!--") || in_comment {
                in_comment = !text.ends_with("-->");
            } else if text.starts_with('#') {
                in_sources = text == HEADING;
                let heading = text.trim_start_matches('#').trim();
                document.headings.push(heading.to_owned());
            } else if in_sources {
                document.source(text);
            } else if let Some(attribution) = text.strip_prefix('—') {
                let cited = cites(attribution).first().copied();
                if let Some(quote) = document.quotes.last_mut() {
                    quote.cites = quote.cites.or(cited);
                }
            } else if !is_remark(text) {
                let cites = cites(text);
                let text = text.to_owned();
                document.claims.push(Claim { line, text, cites });
            }
        }
        document
    }

    fn quoted(&mut self, line: usize, text: &str, goes_on: bool) {
        match self.quotes.last_mut().filter(|_| goes_on) {
            Some(quote) => {
                quote.text.push('\n');
                quote.text.push_str(text);
            }
            None => {
                let quote = self.begin(line, text, false);
                self.quotes.push(quote);
            }
        }
    }

    fn begin(&self, line: usize, text: &str, code: bool) -> Quote {
        Quote {
            line,
            text: text.to_owned(),
            cites: None,
            heading: self.headings.last().cloned().unwrap_or_default(),
            code,
        }
    }

    /// `- [1] running.md:12-18`
    fn source(&mut self, text: &str) {
        let read = || {
            let (number, source) = text
                .trim_start_matches("- ")
                .strip_prefix('[')?
                .split_once(']')?;
            Some((number.parse().ok()?, source.trim().parse().ok()?))
        };
        if let Some((number, source)) = read() {
            self.sources.insert(number, source);
        }
    }
}

/// Whether a line is no claim: empty, a rule, a row of a table, or in italics, which is a remark about
/// the document itself.
fn is_remark(text: &str) -> bool {
    let rule = text
        .chars()
        .all(|c| matches!(c, '-' | '=' | '|' | ':' | ' ' | '*'));
    let italic = text.len() > 2 && text.starts_with('_') && text.ends_with('_');
    rule || italic
}

/// The numbers in `[1]` and `[1, 2]`.
fn cites(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for part in text.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else {
            continue;
        };
        let numbers: Option<Vec<usize>> = inside
            .split(',')
            .map(|number| number.trim().parse().ok())
            .collect();
        found.extend(numbers.into_iter().flatten());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Notes\n\n_extractive, no model configured_\n\n## Findings\n\n\
        Routers drain first [1, 2].\n- Nothing is lost.\n\n> one\n> two\n\n— [1]\n\n\
        ````\n```\ncode\n```\n````\n\n— [2] from the web\n\n> loose\n\n## Sources\n\n\
        - [1] running.md:3-4\n- [2] https://example.org/\n- [x] nothing\n";

    #[test]
    fn a_document_is_taken_apart() {
        let document = Document::parse(TEXT);
        assert_eq!(document.headings, ["Notes", "Findings", "Sources"]);
        let claims: Vec<_> = document
            .claims
            .iter()
            .map(|c| (c.line, &*c.cites))
            .collect();
        assert_eq!(claims, [(7, &[1, 2][..]), (8, &[][..])]);
        let quotes: Vec<_> = document
            .quotes
            .iter()
            .map(|q| (&*q.text, q.cites))
            .collect();
        assert_eq!(
            quotes,
            [
                ("one\ntwo", Some(1)),
                ("```\ncode\n```\n", Some(2)),
                ("loose", None)
            ]
        );
        assert_eq!(document.sources.len(), 2);
        assert_eq!(document.sources[&1].to_string(), "running.md:3-4");
    }

    #[test]
    fn an_unended_code_block_is_no_claim() {
        assert!(Document::parse("```\nrm -rf\n").claims.is_empty());
    }
}
