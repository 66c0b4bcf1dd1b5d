//! The program of the fs tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(fs_tool::SPEC, fs_tool::build)
}
