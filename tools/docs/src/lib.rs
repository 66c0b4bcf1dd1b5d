//! The docs tool: searches a directory of documents, and reads lines of them.
//!
//! A call goes from `tool` to `library`, which reads files again when they change, and to `index`, which
//! finds the passages for a query. `split` cuts a file into passages.

mod index;
mod library;
mod split;
mod tool;

use std::{path::PathBuf, time::Duration};

use config::{duration, folder, integer, keys, size};
use library::Library;
use service::{Context, Services, Spec};

/// The names, tags, port and keys of the docs tool.
pub const SPEC: Spec = Spec {
    program: "docs-tool",
    service: "tool-docs",
    tags: &["tool", "docs", "search"],
    default_port: 50060,
    about: "The docs tool: searches a directory of documents",
    idempotent: &["*"],
    keys: &[service::GRPC, &[DocsKeys::GROUP]],
    ..agentkit::TOOL
};

keys! {
    /// The docs tool.
    #[derive(Clone, Debug)]
    pub(crate) struct DocsKeys: "Docs tool" {
        /// Directory of the documents: .md, .markdown, .txt and .rst files.
        docs_dir: PathBuf = folder("docs"),
        /// How old the list of documents may be before the directory is read again.
        docs_refresh: Duration = duration("2s").zero("it is read for each call"),
        /// Largest file that is read.
        docs_max_file_bytes: usize = size("1MiB").zero("only empty files"),
        /// Most files that are read.
        docs_max_files: usize = integer(5000, 1..=1_000_000, "files"),
        /// Most bytes of all files together that are read.
        docs_max_bytes: usize = size("64MiB").zero("none"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// None at present: the directory may appear later.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let library = Library::new(DocsKeys::from_config(&context.config));
    let tool = tool::Docs(library);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
