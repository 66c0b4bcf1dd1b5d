//! The docs tool: searches a directory of documents, and reads lines of them.
//!
//! A call reads `tool` → [`Library`] (which files there are, read again when they change) →
//! [`Index`] (which of their passages a query means); `split` cuts a file into passages.

mod index;
mod library;
mod split;
mod tool;

use std::path::PathBuf;

use service::{Context, Key, Services, Spec, Type};

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
    keys: &[
        Key::text(
            "docs_dir",
            "docs",
            "directory of the documents: .md, .markdown, .txt, .rst",
        ),
        Key::duration(
            "docs_refresh",
            "2s",
            "how old what is known of the directory may be",
        ),
        Key::size("docs_max_file_bytes", "1MiB", "largest file that is read"),
        Key::new(
            "docs_max_files",
            Type::Integer(1, 1_000_000),
            "5000",
            "most files that are read",
        ),
        Key::size(
            "docs_max_bytes",
            "64MiB",
            "most bytes read of all files together",
        ),
    ],
    ..agentkit::TOOL
};

/// Builds the service of one instance.
///
/// # Errors
/// None at present: the directory may appear later.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let limits = LibraryLimits {
        file_bytes: config.size("docs_max_file_bytes"),
        files: config.integer("docs_max_files"),
        bytes: config.size("docs_max_bytes"),
    };
    let root = PathBuf::from(config.text("docs_dir"));
    let library = Library::new(root, limits, config.duration("docs_refresh"));
    Ok(agentkit::serve_tool(
        context,
        tool::ABOUT,
        tool::Docs(library),
    ))
}
