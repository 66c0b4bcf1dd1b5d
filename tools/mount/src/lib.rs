//! A foreign MCP server as a service of the mesh. `mcp-mount --name N -- COMMAND` starts the server,
//! `--url` connects to one that runs; either way it is registered as `tool-N`.
//!
//! It serves `agentplatform.ToolService`, where an operation is a tool of the server, and
//! `mesh.v1.McpService`, which carries every message of MCP. Clients and servers of both eras of the
//! protocol meet here:
//!
//! | file | what it does |
//! |---|---|
//! | `upstream.rs` | keeps the server connected: `process.rs`, `stdio.rs`, or `http_link.rs` |
//! | `side.rs` | a way to the server; one of both eras has two |
//! | `handshake.rs` | learns what the server is |
//! | `calls.rs` | knows the requests in flight, and where a message belongs |
//! | `definitions.rs`, `tools.rs` | the server's tools, and which of them may be used |
//! | `tool_service.rs`, `arguments.rs` | callers of gRPC |
//! | `tasks.rs`, `listen.rs` | tasks, and streams of changes, in the words of both eras |
//! | `modern.rs`, `parked.rs` | clients of revision 2026-07-28: who is asked something comes again |
//! | `legacy.rs` | clients of earlier revisions, each with a session |

mod arguments;
mod asks;
mod calls;
mod command_line;
mod definitions;
mod handshake;
mod headers;
mod http_link;
mod keys;
mod legacy;
mod link;
mod listen;
mod mcp_service;
mod message;
mod metrics;
mod modern;
mod mount;
mod parked;
mod process;
mod replies;
mod side;
mod sse;
mod stdio;
mod tasks;
mod tool_service;
mod tools;
mod translate;
mod upstream;

use std::process::ExitCode;

use anyhow::Context as _;
use service::{Config, Context, ServiceKind, Services, Spec};

pub use command_line::translated;

/// The names, tags, port and keys of a mount. [`named`] makes its service that of the mount.
pub const SPEC: Spec = Spec {
    program: "mcp-mount",
    service: "tool-mount",
    kind: ServiceKind::Tool,
    tags: &["tool", "mcp"],
    port_env: "TOOL_PORT",
    default_port: 50061,
    version: env!("CARGO_PKG_VERSION"),
    about: "Makes a foreign MCP server a service of the mesh",
    idempotent: &["agentplatform.ToolService/ListTools"],
    keys: &[
        service::GRPC,
        service::CALLS,
        &[keys::MountKeys::GROUP, mcp::pins::PinKeys::GROUP],
    ],
};

/// What stands before the keys in the help.
const USAGE: &str = "\
Usage: mcp-mount --name NAME [--env NAME[=VALUE]]... -- COMMAND...
       mcp-mount --name NAME --url URL [--header 'NAME: VALUE']...

Examples:
  mcp-mount --name everything -- npx -y @modelcontextprotocol/server-everything
  mcp-mount --name docs --url https://example.com/mcp --header 'Authorization: Bearer abc'
";

const NO_SERVER: &str = "the mount needs a server: give its command after `--` or as `mount_command`, \
    or its URL as `mount_url`";

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let args = match translated(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            use std::io::Write as _;
            // Whoever started it may not read this.
            writeln!(std::io::stderr(), "{}: {error:#}", SPEC.program).ok();
            return ExitCode::from(2);
        }
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        use std::io::Write as _;
        // Whoever asked may not read it.
        writeln!(std::io::stdout(), "{USAGE}").ok();
    }
    service::main_as(SPEC, args, named, build)
}

/// The description of the mount that a configuration names.
///
/// # Errors
/// When it names none, or a server that cannot be.
pub fn named(config: &Config) -> anyhow::Result<Spec> {
    let keys = keys::MountKeys::from_config(config);
    mount::check(&keys)?;
    let name = keys
        .mount_name
        .context("the mount needs a name: give --name NAME, or set `mount_name`")?;
    let name = name.strip_prefix("tool-").unwrap_or(&name);
    // Once for each mount of a process, which has one.
    let service = Box::leak(format!("tool-{name}").into_boxed_str());
    Ok(Spec { service, ..SPEC })
}

/// Builds the service of one instance, and starts its server.
///
/// # Errors
/// When the configuration names no server, or one that cannot be.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let mount = mount::Mount::start(context)?;
    let most = context.max_message_bytes();
    let tools = tool_service::server(&mount, most);
    let mcp = mcp_service::server(&mount, most);
    Ok(Services::new()
        .service(tools)
        .service(mcp)
        .descriptors(proto::DESCRIPTORS))
}
