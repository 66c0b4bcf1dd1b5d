//! The results of the tools `docs` and `web`, as JSON.

use serde::{Deserialize, Serialize};

use super::source::Source;

/// A part of a local document: a paragraph, a list, a table or a code block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Path beneath the documents' directory, with `/`.
    pub file: String,
    /// First line, from 1.
    pub line: usize,
    /// Last line.
    pub end_line: usize,
    /// The headings above it, outermost first, joined by ` › `; empty without any.
    pub heading: String,
    /// `text`, `list`, `table` or `code`.
    pub kind: String,
    /// Its lines, unchanged.
    pub text: String,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocHit {
    /// The passage.
    #[serde(flatten)]
    pub passage: Passage,
    /// BM25 score, > 0; comparable within one answer.
    pub score: f64,
    /// The query's terms that it contains.
    pub terms: Vec<String>,
}

/// The answer of `search_local_docs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocSearchResults {
    /// The query as given.
    pub query: String,
    /// How many files are searched.
    pub files: usize,
    /// How many passages they have.
    pub passages: usize,
    /// The query's terms that no document contains.
    pub missing_terms: Vec<String>,
    /// Best first.
    pub results: Vec<DocHit>,
}

/// The answer of `web_search`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebSearchResults {
    /// The query as given.
    pub query: String,
    /// Host of the provider that was asked.
    pub provider: String,
    /// In the provider's order.
    pub results: Vec<WebHit>,
}

/// One page that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebHit {
    /// Its title.
    pub title: String,
    /// Its address, http or https.
    pub url: String,
    /// The provider's excerpt of it.
    pub snippet: String,
}

impl DocSearchResults {
    /// Its JSON Schema.
    pub const SCHEMA: &str = r#"{"type": "object",
        "required": ["query", "files", "passages", "missing_terms", "results"],
        "properties": {
            "query": {"type": "string"},
            "files": {"type": "integer", "description": "how many files are searched"},
            "passages": {"type": "integer", "description": "how many passages they have"},
            "missing_terms": {"type": "array", "items": {"type": "string"},
                "description": "words of the query that no document has"},
            "results": {"type": "array", "description": "the best first", "items": {"type": "object",
                "required": ["file", "line", "end_line", "heading", "kind", "text", "score", "terms"],
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer", "description": "the first line, from 1"},
                    "end_line": {"type": "integer", "description": "the last line"},
                    "heading": {"type": "string", "description": "the headings above it"},
                    "kind": {"type": "string", "enum": ["text", "list", "table", "code"]},
                    "text": {"type": "string"},
                    "score": {"type": "number"},
                    "terms": {"type": "array", "items": {"type": "string"},
                        "description": "words of the query that it has"}}}}}}"#;
}

impl WebSearchResults {
    /// Its JSON Schema.
    pub const SCHEMA: &str = r#"{"type": "object", "required": ["query", "provider", "results"],
        "properties": {
            "query": {"type": "string"},
            "provider": {"type": "string", "description": "host of the provider"},
            "results": {"type": "array", "items": {"type": "object", "required": ["title", "url", "snippet"],
                "properties": {
                    "title": {"type": "string"},
                    "url": {"type": "string"},
                    "snippet": {"type": "string"}}}}}}"#;
}

impl Passage {
    /// Its place.
    #[must_use]
    pub fn source(&self) -> Source {
        Source::Doc {
            file: self.file.clone(),
            line: self.line,
            end: self.end_line,
        }
    }
}
