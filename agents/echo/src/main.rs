//! The program of the echo agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(echo_agent::SPEC, echo_agent::build)
}
