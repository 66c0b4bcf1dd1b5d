//! `meshctl workflows`: keeps workflows, runs them, follows runs and changes them, by a gateway's HTTP
//! API.

mod approve;
mod change;
mod fork;
mod list;
mod patch;
mod put;
mod run;
mod show;
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::{
    gateway::{GatewayArgs, GatewayClient},
    json_arg,
    output::Output,
    subcommands::subcommands,
};

/// Keep workflows, run them, follow runs and change them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl workflows put refunds @refund.json\n  \
    meshctl workflows run refunds --inputs '{\"amount\": 40}' --watch\n  \
    meshctl workflows list --approvals")]
pub(crate) struct Workflows {
    #[command(flatten)]
    gateway: GatewayArgs,

    /// Who asks: whose workflows and runs they are
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "USER",
        hide_env_values = true
    )]
    user: Option<String>,

    #[command(subcommand)]
    command: Command,
}

subcommands! {
    /// One row per command; each is a file of `workflows`.
    enum Command(gateway: &GatewayClient, out: &Output) {
        Put(put::Put),
        Run(run::Run),
        List(list::List),
        Show(show::Show),
        Watch(watch::Watch),
        Approve(approve::Approve),
        Patch(patch::Patch),
        Retry(change::Retry),
        Fork(fork::Fork),
        Cancel(change::Cancel),
    }
}

impl Workflows {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let user = self.user.filter(|user| !user.is_empty());
        let gateway = self.gateway.client()?.with_user(user);
        self.command.run(&gateway, out).await
    }
}

/// JSON of the command line, and what it is for error messages.
async fn json(given: &str, what: &str) -> anyhow::Result<Value> {
    let text = json_arg::read(given).await?;
    serde_json::from_str(&text)
        .with_context(|| format!("the {what} is not JSON: {}", json_arg::FORMS))
}
