//! `meshctl run`: this process becomes one program of the mesh.

use std::{env, ffi::OsString, os::unix::process::CommandExt as _, process};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, error::ErrorKind};
use programs::PROGRAMS;

use super::Cli;
use crate::{failure, output::Output};

/// Run one program of the mesh, with its own options.
///
/// A link to meshctl under the program's name does the same: images have such links.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl run echo-agent --port 0\n  \
    meshctl run echo-agent --help")]
pub(crate) struct Run {
    /// The program's name, and its options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "PROGRAM [OPTION]")]
    words: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self, _: &Output) -> anyhow::Result<process::ExitCode> {
        let (name, options) = self.words.split_first().context("no program is named")?;
        if programs::named(name).is_none() {
            let names = PROGRAMS.map(|(spec, _)| spec.program).join(", ");
            let name = name.display();
            let text = format!("'{name}' is not a program of the mesh: name one of {names}\n");
            return Ok(failure::refused(
                &Cli::command().error(ErrorKind::InvalidValue, text),
            ));
        }
        let meshctl = env::current_exe().context("find the file of meshctl")?;
        let error = process::Command::new(meshctl)
            .arg0(name)
            .args(options)
            .exec();
        Err(error).with_context(|| format!("start {}", name.display()))
    }
}
