//! `meshctl mount`: a foreign MCP server becomes a service of the mesh.

use std::{env, ffi::OsString, os::unix::process::CommandExt as _, process};

use anyhow::Context as _;
use clap::Args;

use crate::output::Output;

/// Make an MCP server a service of the mesh: `tool-NAME`.
///
/// The server is started by its command, and again when it ends; or it runs already, at a URL. A
/// command gets PATH, HOME and the variables of --env and no others.
///
///   --name NAME              a-z, 0-9 and dashes; several mounts of one name share the calls
///   --env NAME[=VALUE]       a variable for the command; can be given several times
///   --url URL                the server's endpoint, where it runs already
///   --header 'NAME: VALUE'   sent with each request to the URL; can be given several times
///
/// All keys of `meshctl run mcp-mount --help` are options here too, such as --mount-timeout 10m.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(after_help = "Examples:\n  \
    meshctl mount --name everything -- npx -y @modelcontextprotocol/server-everything\n  \
    meshctl mount --name github --env GITHUB_TOKEN -- npx -y some-server\n  \
    meshctl mount --name docs --url https://example.com/mcp --header 'Authorization: Bearer abc'")]
pub(crate) struct Mount {
    /// --name NAME, then --url URL, or the server's command after `--`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "OPTIONS AND COMMAND")]
    words: Vec<OsString>,
}

impl Mount {
    pub(crate) async fn run(self, _: &Output) -> anyhow::Result<process::ExitCode> {
        let meshctl = env::current_exe().context("find the file of meshctl")?;
        let error = process::Command::new(meshctl)
            .arg0(mcp_mount::SPEC.program)
            .args(&self.words)
            .exec();
        Err(error).context("start the mount")
    }
}
