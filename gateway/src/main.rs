//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(gateway::SPEC, gateway::build)
}
