//! `meshctl jobs`: hands jobs in, follows them and looks after them, by a gateway's HTTP API.

mod change;
mod dead;
mod list;
mod queues;
mod submit;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{gateway::GatewayArgs, output::Output};

/// Hand jobs in, follow them and look after them.
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(subcommand)]
    command: Command,
}

/// One row per command; each is a file of `jobs`.
#[derive(Subcommand, Debug)]
enum Command {
    Submit(submit::Submit),
    Watch(watch::Watch),
    Get(view::Get),
    List(list::List),
    Cancel(change::Cancel),
    Retry(change::Retry),
    #[command(subcommand)]
    Dead(dead::Dead),
    Queues(queues::Queues),
}

impl Jobs {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let gateway = self.gateway.client()?;
        match self.command {
            Command::Submit(command) => command.run(gateway, out).await,
            Command::Watch(command) => command.run(gateway, out).await,
            Command::Get(command) => command.run(gateway, out).await,
            Command::List(command) => command.run(gateway, out).await,
            Command::Cancel(command) => command.run(gateway, out).await,
            Command::Retry(command) => command.run(gateway, out).await,
            Command::Dead(command) => command.run(gateway, out).await,
            Command::Queues(command) => command.run(gateway, out).await,
        }
    }
}
