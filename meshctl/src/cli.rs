//! What can be written on the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        bench, call, completion, demo, describe, drain, jobs, list, run, schedules, status, up,
    },
    output::Output,
};

/// Start, look at and call a gRPC mesh of agents, tools and workers.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
#[command(
    after_help = "New here? `meshctl demo` shows everything in a second, and \
    `meshctl up` starts a mesh to try things on."
)]
pub(crate) struct Cli {
    /// Print JSON for programs instead of text for people, failures too.
    #[arg(long, global = true, display_order = 100)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One row per command; each is a file of `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    Run(run::Run),
    Demo(demo::Demo),
    List(list::List),
    Describe(describe::Describe),
    Call(call::Call),
    Status(status::Status),
    Drain(drain::Drain),
    Jobs(jobs::Jobs),
    Schedules(schedules::Schedules),
    #[command(subcommand)]
    Bench(bench::Bench),
    Completion(completion::Completion),
}

impl Command {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(command) => command.run(out).await,
            Self::Run(command) => command.run(),
            Self::Demo(command) => command.run(out).await,
            Self::List(command) => command.run(out).await,
            Self::Describe(command) => command.run(out).await,
            Self::Call(command) => command.run(out).await,
            Self::Status(command) => command.run(out).await,
            Self::Drain(command) => command.run(out).await,
            Self::Jobs(command) => command.run(out).await,
            Self::Schedules(command) => command.run(out).await,
            Self::Bench(command) => command.run(out).await,
            Self::Completion(command) => command.run(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
