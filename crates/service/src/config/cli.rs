//! The command line, built from the table of keys.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{Arg, ArgAction, Command};

use super::{Config, Key, Loader, Mistakes, Type};
use crate::Spec;

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To serve with this configuration.
    Run(Config),
    /// To ask the program that runs with this configuration whether it is ready.
    Healthcheck(Config),
    /// To print this and end: help, the version or an example file.
    Print(String),
    /// Nothing that can be understood.
    Usage(String),
    /// To serve with a configuration that will not do.
    Mistakes(Mistakes),
}

/// The configuration of a program: its table, `--config` or `MESH_CONFIG`, the environment, and
/// its flags.
#[must_use]
pub fn from_process(
    spec: &Spec,
    args: impl IntoIterator<Item = OsString>,
    env: BTreeMap<String, String>,
) -> Invocation {
    let keys = spec.all_keys();
    let matches = match command(spec, &keys).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => return Invocation::Usage(error.render().to_string()),
        Err(answer) => return Invocation::Print(answer.render().to_string()),
    };
    if matches.get_flag("example-config") {
        return Invocation::Print(example(&keys));
    }
    let file = matches
        .get_one::<String>("config")
        .or_else(|| env.get("MESH_CONFIG"))
        .cloned();
    let mut loader = Loader::new(keys.clone());
    if let Some(path) = file.filter(|path| !path.is_empty()) {
        loader = loader.file(path);
    }
    for key in &keys {
        if let Some(value) = matches.get_one::<String>(key.name) {
            loader = loader.flag(key.name, value.clone());
        }
    }
    match loader.env(env).load() {
        Ok(config) if matches.get_flag("healthcheck") => Invocation::Healthcheck(config),
        Ok(config) => Invocation::Run(config),
        Err(mistakes) => Invocation::Mistakes(mistakes),
    }
}

fn command(spec: &Spec, keys: &[Key]) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with any of the keys below [env: MESH_CONFIG]");
    let example = Arg::new("example-config")
        .long("example-config")
        .action(ArgAction::SetTrue)
        .help("Print a configuration file with every key and end");
    let healthcheck = Arg::new("healthcheck")
        .long("healthcheck")
        .action(ArgAction::SetTrue)
        .help("Ask the program that runs here whether it is ready: exits with 0 or 1");
    Command::new(spec.program)
        .version(spec.version)
        .about(spec.about)
        .arg(file)
        .arg(example)
        .arg(healthcheck)
        .args(keys.iter().map(flag))
}

fn flag(key: &Key) -> Arg {
    let default = if key.default.is_empty() {
        "none"
    } else {
        &key.default
    };
    let help = format!(
        "{} [env: {}] [default: {default}]",
        key.about,
        key.env_name()
    );
    let arg = Arg::new(key.name)
        .long(key.flag())
        .value_name(placeholder(key.kind))
        .help(help);
    match key.kind {
        // `--enable-metrics` alone says yes.
        Type::Bool => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg,
    }
}

fn placeholder(kind: Type) -> &'static str {
    match kind {
        Type::Text | Type::Custom(..) => "TEXT",
        Type::Choice(_) | Type::OneOf(_) => "WORD",
        Type::Bool => "BOOL",
        Type::Integer(..) | Type::Number(..) => "NUMBER",
        Type::Duration(_) => "DURATION",
        Type::Size | Type::SizeFrom(_) => "SIZE",
        Type::List => "LIST",
        Type::Pairs => "PAIRS",
    }
}

/// A file that sets every key to its default, one line each under what it does. The port is left
/// to the program, so that one file does for all of them.
fn example(keys: &[Key]) -> String {
    let mut out = String::from(
        "# Every key of a program with its default: start it with --config FILE, or MESH_CONFIG.\n\
         # The variable in brackets and the flag (--drain-timeout 20s) win over this file.\n",
    );
    for key in keys {
        let value = match key.kind {
            Type::Bool | Type::Integer(..) | Type::Number(..) => key.default.to_string(),
            _ => format!("{:?}", key.default),
        };
        let off = if key.name == "port" { "# " } else { "" };
        out += &format!(
            "\n# {} ({})\n{off}{} = {value}\n",
            key.about,
            key.env_name(),
            key.name
        );
    }
    out
}
