//! What can be written on the command line. A command is a file and a row: its arguments, then what
//! it does.

mod bench;
mod call;
mod completion;
mod demo;
mod describe;
mod doctor;
mod drain;
mod jobs;
mod list;
mod mcp;
mod mount;
mod run;
mod schedules;
mod stat;
mod status;
mod tap;
mod top;
mod up;
mod workflows;

use clap::Parser;

use crate::{output::Output, subcommands::subcommands};

/// Start, look at and call a gRPC mesh of agents, tools and workers.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
#[command(
    after_help = "New here? `meshctl demo` shows everything in a second, and \
    `meshctl up` starts a mesh to try things on."
)]
pub(crate) struct Cli {
    /// Print JSON for programs instead of text for people; failures too.
    #[arg(long, global = true, display_order = 100)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

subcommands! {
    /// The commands.
    pub(crate) enum Command(out: &Output) {
        Up(up::Up),
        Run(run::Run),
        Mount(mount::Mount),
        Demo(demo::Demo),
        List(list::List),
        Describe(describe::Describe),
        Call(call::Call),
        Mcp(mcp::Mcp),
        Status(status::Status),
        Doctor(doctor::Doctor),
        Stat(stat::Stat),
        Top(top::Top),
        Tap(tap::Tap),
        Drain(drain::Drain),
        Jobs(jobs::Jobs),
        Schedules(schedules::Schedules),
        Workflows(workflows::Workflows),
        #[command(subcommand)]
        Bench(bench::Bench),
        Completion(completion::Completion),
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
