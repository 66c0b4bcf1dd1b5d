//! `meshctl jobs`: submits jobs, follows them and manages them, by a gateway's HTTP API.

mod change;
mod dead;
mod list;
mod queues;
mod submit;
mod view;
mod watch;

use std::process::ExitCode;

use clap::Args;

use crate::{
    gateway::{GatewayArgs, GatewayClient},
    output::Output,
    subcommands::subcommands,
};

/// Submit jobs, follow them and manage them.
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(subcommand)]
    command: Command,
}

subcommands! {
    /// One row per command; each is a file of `jobs`.
    enum Command(gateway: &GatewayClient, out: &Output) {
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
}

impl Jobs {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let gateway = self.gateway.client()?;
        self.command.run(&gateway, out).await
    }
}
