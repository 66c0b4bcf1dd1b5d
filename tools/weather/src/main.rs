//! The program of the weather tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(weather_tool::SPEC, weather_tool::build)
}
