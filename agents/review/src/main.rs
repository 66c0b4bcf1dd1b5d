//! The program of the review agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(review_agent::SPEC, review_agent::build)
}
