//! The fs tool: files in a directory per run. A file is written whole or not at all, and no path
//! leads out of its run's directory.

mod path;
mod sandbox;
mod tool;

use std::path::PathBuf;

use service::{Context, Key, Services, Spec, Type};

pub use path::{InvalidPath, Path, RunId};
pub use sandbox::{Error, RunLimits, Sandbox};

/// The names, tags, port and keys of the fs tool.
pub const SPEC: Spec = Spec {
    program: "fs-tool",
    service: "tool-fs",
    tags: &["tool", "fs", "files"],
    default_port: 50058,
    about: "The fs tool: files in a directory per run",
    // Writes and appends give the same file when they are repeated.
    idempotent: &[
        "agentplatform.ToolService/ExecuteTool",
        "agentplatform.ToolService/ListTools",
    ],
    keys: &[
        Key::text(
            "out_dir",
            "out",
            "directory of the runs' files; instances share it",
        ),
        Key::size("fs_max_bytes", "256KiB", "largest file written or read"),
        Key::new(
            "fs_max_files",
            Type::Integer(1, 100_000),
            "256",
            "most files of one run",
        ),
    ],
    ..agentkit::TOOL
};

/// Builds the service of one instance.
///
/// # Errors
/// None at present: the directory is made when the first file is written.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let limits = RunLimits {
        bytes: config.size("fs_max_bytes"),
        files: config.integer("fs_max_files"),
    };
    let sandbox = Sandbox::new(PathBuf::from(config.text("out_dir")), limits);
    Ok(agentkit::serve_tool(
        context,
        tool::ABOUT,
        tool::Fs(sandbox),
    ))
}
