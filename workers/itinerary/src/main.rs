//! The program of the itinerary worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(itinerary_worker::SPEC, itinerary_worker::build)
}
