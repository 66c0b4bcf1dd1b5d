//! The docs tool: searches a directory of documents, and reads lines of them.
//!
//! A call reads `tool` → [`Library`] (which files there are, read again when they change) →
//! [`Index`] (which of their passages a query means); `split` cuts a file into passages.

mod index;
mod library;
mod split;
mod tool;

use std::{path::PathBuf, time::Duration};

use config::{duration, folder, integer, keys, size};
use service::{Context, Services, Spec};

pub use index::Index;
pub use library::{Error, Library, LibraryLimits};
pub use split::split;

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
        /// Files that are read at most.
        docs_max_files: usize = integer(5000, 1..=1_000_000, "files"),
        /// Bytes that are read of all files together at most.
        docs_max_bytes: usize = size("64MiB").zero("none"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// None at present: the directory may appear later.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = DocsKeys::from_config(&context.config);
    let limits = LibraryLimits {
        file_bytes: keys.docs_max_file_bytes,
        files: keys.docs_max_files,
        bytes: keys.docs_max_bytes,
    };
    let library = Library::new(keys.docs_dir, limits, keys.docs_refresh);
    Ok(agentkit::serve_tool(
        context,
        tool::ABOUT,
        tool::Docs(library),
    ))
}
