//! The program of the scheduler.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(mesh_scheduler::SPEC, mesh_scheduler::build)
}
