//! The program of the workflow runner.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(workflow_runner::SPEC, workflow_runner::build)
}
