//! The program of the docs tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::main(docs_tool::SPEC, docs_tool::build)
}
