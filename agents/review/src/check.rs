//! The checks: quotations are in their source, claims have a source, and the goal is covered.

use std::collections::BTreeMap;

use agentkit::{
    TaskError, ToolError, Toolbox,
    sources::{Document, Quote, Source},
    text::{missing_terms, one_line, shorten},
};
use serde_json::Value;

const DOCS: &str = "docs-tool";
/// A line with fewer words is a label, not a claim.
const MIN_WORDS: usize = 4;
/// The mark of a model's own decision, which its prompt asks for.
const PROPOSED: &str = "(proposed)";

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// The document says something false about its sources.
    Error,
    /// Something is missing.
    Warning,
    /// Something could not be checked.
    Note,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// File and line.
    pub(crate) at: String,
    pub(crate) what: String,
}

/// The results of all checks.
#[derive(Debug, Default)]
pub(crate) struct CheckResults {
    pub(crate) findings: Vec<Finding>,
    /// Quotations that were looked up, and those that are in their source.
    pub(crate) looked_up: usize,
    pub(crate) confirmed: usize,
    /// Claims, and those that name a source.
    pub(crate) claims: usize,
    pub(crate) sourced: usize,
    /// Lines of documents by their source: each is read once.
    read: BTreeMap<Source, Result<String, String>>,
}

impl CheckResults {
    /// Checks one document, which is called `name`.
    pub(crate) async fn document(
        &mut self,
        toolbox: &Toolbox,
        name: &str,
        document: &Document,
    ) -> Result<(), TaskError> {
        if document.sources.is_empty() {
            self.find(Severity::Warning, name, 0, "names no source at all");
        }
        for quote in &document.quotes {
            self.quote(toolbox, name, document, quote).await?;
        }
        for claim in &document.claims {
            if claim.text.split_whitespace().count() < MIN_WORDS || claim.text.ends_with(PROPOSED) {
                continue;
            }
            self.claims += 1;
            let mut cites = claim.cites.iter();
            if let Some(number) = cites.find(|number| !document.sources.contains_key(number)) {
                self.find(Severity::Error, name, claim.line, &unknown_source(*number));
            } else if claim.cites.is_empty() {
                let what = format!("says something without a source: {}", shorten(&claim.text));
                self.find(Severity::Warning, name, claim.line, &what);
            } else {
                self.sourced += 1;
            }
        }
        Ok(())
    }

    /// Checks that the document has every word of the goal.
    pub(crate) fn goal(&mut self, goal: &str, name: &str, document: &Document) {
        let quotes = document.quotes.iter().map(|quote| quote.text.as_str());
        let claims = document.claims.iter().map(|claim| claim.text.as_str());
        // Not the title, which repeats the goal.
        let headings = document.headings.iter().skip(1).map(String::as_str);
        let missing = missing_terms(goal, quotes.chain(claims).chain(headings));
        if !missing.is_empty() {
            let what = format!("does not speak of the goal's: {}", missing.join(", "));
            self.find(Severity::Warning, name, 0, &what);
        }
    }

    async fn quote(
        &mut self,
        toolbox: &Toolbox,
        name: &str,
        document: &Document,
        quote: &Quote,
    ) -> Result<(), TaskError> {
        let (severity, what) = match quote
            .cites
            .map(|number| (number, document.sources.get(&number)))
        {
            None => (Severity::Error, "quotes without a source".to_owned()),
            Some((number, None)) => (Severity::Error, unknown_source(number)),
            Some((_, Some(Source::Web(url)))) => {
                let what = format!("not checked, since pages are not fetched: {url}");
                (Severity::Note, what)
            }
            Some((_, Some(source))) => {
                self.looked_up += 1;
                let what = match self.lines(toolbox, source).await? {
                    Err(problem) => format!("its source {source} cannot be read: {problem}"),
                    Ok(there) if plain(&there).contains(&plain(&quote.text)) => {
                        self.confirmed += 1;
                        return Ok(());
                    }
                    Ok(_) => {
                        let said = shorten(quote.text.trim());
                        format!("does not stand in {source}: {said}")
                    }
                };
                (Severity::Error, what)
            }
        };
        self.find(severity, name, quote.line, &what);
        Ok(())
    }

    /// The lines of a source, or why the tool has none.
    async fn lines(
        &mut self,
        toolbox: &Toolbox,
        source: &Source,
    ) -> Result<Result<String, String>, TaskError> {
        if let Some(known) = self.read.get(source) {
            return Ok(known.clone());
        }
        let Source::Doc { file, line, end } = source else {
            return Ok(Err("it is no document".to_owned()));
        };
        let asked = [
            ("file", file.clone()),
            ("line", line.to_string()),
            ("end_line", end.to_string()),
        ];
        let read = toolbox.call_json::<Value>(DOCS, "read_local_doc", asked);
        let lines = match read.await {
            Ok(read) => Ok(read["text"].as_str().unwrap_or_default().to_owned()),
            Err(error @ ToolError::Unavailable { .. }) => {
                return Err(TaskError::Unavailable(error.to_string()));
            }
            Err(error) => Err(error.to_string()),
        };
        self.read.insert(source.clone(), lines.clone());
        Ok(lines)
    }

    fn find(&mut self, severity: Severity, name: &str, line: usize, what: &str) {
        let at = match line {
            0 => name.to_owned(),
            line => format!("{name}:{line}"),
        };
        let what = one_line(what);
        self.findings.push(Finding { severity, at, what });
    }

    pub(crate) fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|it| it.severity == severity).count()
    }
}

fn unknown_source(number: usize) -> String {
    format!("cites [{number}], which is not among its sources")
}

/// A text without its line breaks and the marks of lists, which a quotation may leave out.
fn plain(text: &str) -> String {
    let words = text.split_whitespace();
    let words = words.filter(|word| !matches!(*word, "-" | "*" | "+"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_marks_of_lists_do_not_make_a_difference() {
        assert_eq!(plain("- one\n  two\n- three\n"), plain("one two three"));
        assert!(!plain("one two").contains(&plain("one three")));
    }
}
