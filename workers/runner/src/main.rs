//! The program of the job runner.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(job_runner::SPEC, job_runner::build)
}
