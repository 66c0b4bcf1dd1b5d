//! The operations of the docs tool.

use agentkit::{
    About, Invocation, InvocationError, Operation, Parameter, Tool, sources::DocSearchResults,
};
use serde_json::json;

use crate::library::{Error, Library};

/// Most results of one search, and most lines of one reading.
const MAX_RESULTS: usize = 50;
const MAX_LINES: usize = 500;
/// Longest query, bytes.
const MAX_QUERY: usize = 8 * 1024;
const KINDS: [&str; 4] = ["text", "list", "table", "code"];

pub(crate) const ABOUT: About = About {
    name: "Docs Tool",
    description: "Searches a directory of Markdown and text files, and reads lines of them",
    how_it_works: "Splits files into passages: paragraphs, lists, tables and code blocks, each with \
        its lines and headings. Ranks them for the words of a query by BM25. Files that change \
        are read again within seconds. A result is quoted from the file, not rephrased.",
    return_format: "result is a JSON object. search_local_docs: query, files, passages, \
        missing_terms (words that no document has), results, each of file, line, end_line, \
        heading, kind, text, score, terms. read_local_doc: file, line, end_line, text.",
    use_cases: &[
        "Find what the documentation says about a question, with the place to look it up",
        "Check that a quotation is in the lines that it names",
        "Find examples of code or configuration",
    ],
    operations: &[
        Operation::new("search_local_docs", "the passages that match a query best")
            .taking(&[
                Parameter::required("query", "string", "words to look for"),
                Parameter::optional("limit", "integer", "most results, 1 to 50 (default 8)"),
                Parameter::optional("kind", "string", "only text, list, table or code"),
            ])
            .read_only()
            .answering(DocSearchResults::SCHEMA),
        Operation::new("read_local_doc", "lines of a file, as they stand")
            .taking(&[
                Parameter::required("file", "string", "a file as search_local_docs names it"),
                Parameter::optional("line", "integer", "the first line, from 1 (default 1)"),
                Parameter::optional(
                    "end_line",
                    "integer",
                    "the last line, at most 500 lines on (default 60 on)",
                ),
            ])
            .read_only()
            .answering(LINES_SCHEMA),
    ],
    ..About::EMPTY
};

/// JSON Schema of the answer of `read_local_doc`.
const LINES_SCHEMA: &str = r#"{"type": "object", "required": ["file", "line", "end_line", "text"],
    "properties": {
        "file": {"type": "string"},
        "line": {"type": "integer", "description": "the first line, from 1"},
        "end_line": {"type": "integer", "description": "the last line"},
        "text": {"type": "string"}}}"#;

/// The tool over a library.
#[derive(Debug)]
pub(crate) struct Docs(pub(crate) Library);

impl Docs {
    async fn search(&self, call: &Invocation) -> Result<String, InvocationError> {
        let parameters = &call.parameters;
        let query = parameters.text("query", "words to look for", MAX_QUERY)?;
        let limit = parameters.integer("limit", 1..=MAX_RESULTS, 8)?;
        let kind = parameters.choice("kind", &KINDS)?;
        let snapshot = self.0.snapshot().await?;
        let found = DocSearchResults {
            query: query.to_owned(),
            files: snapshot.files(),
            passages: snapshot.index.len(),
            missing_terms: snapshot.index.missing(query),
            results: snapshot.index.search(query, kind, limit),
        };
        Ok(serde_json::to_string(&found)?)
    }

    async fn read(&self, call: &Invocation) -> Result<String, InvocationError> {
        let file = call
            .parameters
            .required("file", "a file as search_local_docs names it")?;
        let line = call.parameters.integer("line", 1..=usize::MAX / 2, 1)?;
        let end = call
            .parameters
            .integer("end_line", line..=line + MAX_LINES, line + 60)?;
        let text = self.0.snapshot().await?.lines(file, line, end)?;
        let last = line + text.lines().count().max(1) - 1;
        Ok(json!({"file": file, "line": line, "end_line": last, "text": text}).to_string())
    }
}

#[async_trait::async_trait]
impl Tool for Docs {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        match call.operation.as_str() {
            "search_local_docs" => self.search(&call).await,
            "read_local_doc" => self.read(&call).await,
            _ => Err(call.unknown_operation(&ABOUT)),
        }
    }
}

impl From<Error> for InvocationError {
    fn from(error: Error) -> Self {
        Self::Rejected(error.to_string())
    }
}
