//! The program that mounts an MCP server.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_mount::main()
}
