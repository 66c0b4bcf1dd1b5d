//! The MCP router's program.

fn main() -> std::process::ExitCode {
    service::main(router::SPEC, router::build)
}
