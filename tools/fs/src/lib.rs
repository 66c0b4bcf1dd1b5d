//! The fs tool: files in a directory per run. A file is written whole or not at all, and no path
//! leads out of its run's directory.

mod path;
mod sandbox;
mod tool;

use std::path::PathBuf;

use config::{folder, integer, keys, size};
use sandbox::Sandbox;
use service::{Context, Services, Spec};

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
    keys: &[service::GRPC, &[FsKeys::GROUP]],
    ..agentkit::TOOL
};

keys! {
    /// The fs tool.
    #[derive(Clone, Debug)]
    pub(crate) struct FsKeys: "Fs tool" {
        /// Directory of the runs' files. Instances share it.
        out_dir: PathBuf = folder("out"),
        /// Largest file that is written or read.
        fs_max_bytes: usize = size("256KiB").zero("only empty files"),
        /// Most files of one run.
        fs_max_files: usize = integer(256, 1..=100_000, "files"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// None at present: the directory is made when the first file is written.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = FsKeys::from_config(&context.config);
    context.disks.watch(&keys.out_dir);
    let sandbox = Sandbox::new(keys);
    let tool = tool::Fs(sandbox);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
