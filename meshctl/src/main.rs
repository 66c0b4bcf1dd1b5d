//! The command line of the mesh: starts one, looks at one, calls into one. Under the name of one of
//! its programs it is that program.

mod admin;
mod commands;
mod consul;
mod contract;
mod duration;
mod event_stream;
mod exposition;
mod failure;
mod gateway;
mod histogram;
mod instances;
mod job_store;
mod json_arg;
mod local;
mod mcp;
mod member;
mod methods;
mod output;
mod proto_text;
mod registry;
mod router;
mod subcommands;
mod traffic;

use std::{env, path::Path, process::ExitCode};

use clap::Parser as _;

/// Exits with 0 when all went well, 1 when something failed, 2 for an invalid command line.
fn main() -> ExitCode {
    let own_name = env::args_os().next().unwrap_or_default();
    let own_name = Path::new(&own_name).file_name().unwrap_or_default();
    if own_name == mcp_mount::SPEC.program {
        return mcp_mount::main();
    }
    if let Some((spec, build)) = programs::named(own_name) {
        return service::main(spec, build);
    }
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::refused(&error),
    };
    let out = output::Output::new(cli.json);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    service::track_tasks(&mut runtime);
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::exit(&out, &anyhow::Error::new(error)),
    };
    let ended = runtime.block_on(Box::pin(cli.command.run(&out)));
    // A thread that still reads standard input is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => failure::exit(&out, &error),
    }
}
