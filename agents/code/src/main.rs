//! The program of the code agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(code_agent::SPEC, code_agent::build)
}
