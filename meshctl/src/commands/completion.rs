//! `meshctl completion`: what a shell needs to complete commands.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::Cli;
use crate::output::Output;

/// Print a script that makes a shell complete meshctl's commands and options.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl completion bash > /etc/bash_completion.d/meshctl\n  \
    source <(meshctl completion zsh)\n  \
    meshctl completion fish > ~/.config/fish/completions/meshctl.fish")]
pub(crate) struct Completion {
    /// Which shell
    shell: Shell,
}

impl Completion {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "meshctl", &mut script);
        Ok(out.line(String::from_utf8(script)?.trim_end())?)
    }
}
