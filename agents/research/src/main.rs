//! The program of the research agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(research_agent::SPEC, research_agent::build)
}
