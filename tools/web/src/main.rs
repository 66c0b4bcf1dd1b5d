//! The program of the web tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(web_tool::SPEC, web_tool::build)
}
