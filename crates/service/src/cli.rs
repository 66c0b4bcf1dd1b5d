//! The command line, built from the table of keys.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use config::{Config, Key, Mistakes, Type};

use crate::Spec;

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
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
pub(crate) fn from_process(
    spec: &Spec,
    args: impl IntoIterator<Item = OsString>,
    env: BTreeMap<String, String>,
) -> Invocation {
    let keys = spec.all_keys();
    let matches = match command(spec, &keys).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => return Invocation::Usage(usage(spec, &error)),
        Err(answer) => return Invocation::Print(answer.render().to_string()),
    };
    if matches.get_flag("example-config") {
        return Invocation::Print(example(spec));
    }
    let file = matches
        .get_one::<String>("config")
        .or_else(|| env.get("MESH_CONFIG"))
        .cloned();
    let mut loader = spec.loader();
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
    let text = key.default.text();
    let default = if text.is_empty() { "none" } else { &text };
    let help = format!(
        "{} [{}] [env: {}] [default: {default}]",
        key.about(),
        key.value(),
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
        Type::Size(_) => "SIZE",
        Type::List => "LIST",
    }
}

/// What is said of a command line that clap refuses: a key of another program by its name.
fn usage(spec: &Spec, error: &clap::Error) -> String {
    let said = error.render().to_string();
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return said;
    };
    let name = flag.trim_start_matches("--").replace('-', "_");
    match (error.kind(), spec.loader().refusal(&name)) {
        (ErrorKind::UnknownArgument, refusal) if !refusal.starts_with("unknown key") => {
            format!("{}: {flag}: {refusal}\n", spec.program)
        }
        _ => said,
    }
}

/// A file that sets every key of a program to its default.
fn example(spec: &Spec) -> String {
    let mut out = String::from(
        "# Every key of this program with its default: start it with --config FILE, or MESH_CONFIG.\n\
         # The key's name in upper case is its variable, with dashes it is its flag (--drain-timeout \
         20s).\n# Flags win over variables, and those over this file.\n",
    );
    let keys = spec.all_keys();
    for group in spec.groups() {
        let of = |key: &&Key| group.keys.iter().any(|it| it.name == key.name);
        out += &format!("\n# {}\n", group.title);
        out += &config::example(keys.iter().filter(of), |_| false);
    }
    out
}

#[cfg(test)]
mod tests {
    //! The command line's promises.

    use std::{collections::BTreeSet, io::Write as _, time::Duration};

    use tempfile::NamedTempFile;

    use super::*;
    use crate::{
        DrainKeys,
        keys::{AdminKeys, ListenKeys},
        tests::SPEC,
    };

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn run(args: &[&str], variables: &[(&str, &str)]) -> Invocation {
        let args = ["test-agent"].iter().chain(args).map(OsString::from);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        from_process(&SPEC, args, variables.iter().map(own).collect())
    }

    #[test]
    fn the_command_line_is_made_of_the_table() {
        let file = file("drain_timeout = \"1s\"\nweight = 5");
        let path = file.path().to_str().unwrap();
        let args = [
            "--drain-timeout",
            "20s",
            "--enable-pprof",
            "--log-level=debug",
        ];
        let Invocation::Run(config) = run(&args, &[("MESH_CONFIG", path), ("AGENT_PORT", "0")])
        else {
            panic!("expected a configuration");
        };
        assert_eq!(
            DrainKeys::from_config(&config).drain_timeout,
            Duration::from_secs(20)
        );
        assert_eq!(
            crate::keys::RegistrationKeys::from_config(&config).weight,
            5
        );
        assert_eq!(ListenKeys::from_config(&config).port, 0);
        assert!(AdminKeys::from_config(&config).enable_pprof);
        let Invocation::Print(help) = run(&["--help"], &[]) else {
            panic!("expected help")
        };
        for key in SPEC.all_keys() {
            assert!(help.contains(&format!("--{}", key.flag())), "{}", key.name);
            assert!(
                help.contains(&format!("[env: {}]", key.env_name())),
                "{}",
                key.name
            );
        }
        assert!(matches!(run(&["--version"], &[]), Invocation::Print(v) if v.contains("1.2.3")));
        assert!(matches!(
            run(&["--drain-timeuot", "1s"], &[]),
            Invocation::Usage(_)
        ));
        assert!(matches!(
            run(&["--drain-timeout", "500s"], &[]),
            Invocation::Mistakes(_)
        ));
    }

    #[test]
    fn every_default_in_the_table_is_valid_and_every_name_is_there_once() {
        let keys = SPEC.all_keys();
        SPEC.loader().load().unwrap();
        let names: BTreeSet<_> = keys.iter().map(|key| key.name).collect();
        let variables: BTreeSet<_> = keys.iter().map(Key::env_name).collect();
        assert_eq!((names.len(), variables.len()), (keys.len(), keys.len()));
    }

    #[test]
    fn the_example_of_a_program_loads_and_sets_every_key_to_its_default() {
        let Invocation::Print(example) = run(&["--example-config"], &[]) else {
            panic!("expected an example");
        };
        let config = SPEC.loader().file(file(&example).path()).load().unwrap();
        let values: BTreeMap<_, _> = config
            .rows()
            .map(|(name, value, source)| (name, (value, source)))
            .collect();
        for key in SPEC.all_keys() {
            let (value, source) = values[key.name];
            assert_eq!(value, key.default.text(), "{}", key.name);
            assert!(matches!(source, config::Source::File(_)), "{}", key.name);
        }
    }

    #[test]
    fn a_flag_of_another_program_is_refused_with_the_reason() {
        let spec = Spec { keys: &[], ..SPEC };
        let args = ["test-agent", "--max-attempts", "3"].map(OsString::from);
        let Invocation::Usage(told) = from_process(&spec, args, BTreeMap::new()) else {
            panic!("expected a refusal");
        };
        let expected = "test-agent does not call other services: it has no key `max_attempts`";
        assert!(told.contains(expected), "{told}");
        let file = file("[services.agent-echo]\nmax_attempts = 3\nclient_rate = 1");
        let told = spec
            .loader()
            .file(file.path())
            .load()
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("does not call other services: it has no settings"),
            "{told}"
        );
    }
}
