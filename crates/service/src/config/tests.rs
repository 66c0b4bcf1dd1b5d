//! The configuration's promises, by table where there is one.

use std::{collections::BTreeMap, ffi::OsString, io::Write as _, time::Duration};

use tempfile::NamedTempFile;

use super::{Key, Loader, Mistakes, Invocation, Type, from_process};
use crate::tests::SPEC;

const KEYS: &[Key] = &[
    Key::duration("drain_timeout", "15s", "about"),
    Key::size("max_message_bytes", "4MiB", "about"),
    Key::bool("enable_metrics", "true", "about"),
    Key::list("hosts", "", "about"),
    Key::new("policies", Type::Pairs, "", "about"),
    Key::text("token", "", "about").secret(),
    Key::port("port", "50052", "about").with_env("AGENT_PORT"),
];

fn loader() -> Loader {
    Loader::new(KEYS.to_vec())
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn run(args: &[&str], variables: &[(&str, &str)]) -> Invocation {
    let args = ["test-agent"].iter().chain(args).map(OsString::from);
    from_process(&SPEC, args, env(variables))
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = file("drain_timeout = \"1s\"\nmax_message_bytes = 100\nport = 1");
    let config = loader()
        .file(file.path())
        .env(env(&[("DRAIN_TIMEOUT", "2s"), ("AGENT_PORT", "2")]))
        .flag("drain_timeout", "3s".to_owned())
        .load()
        .unwrap();
    assert_eq!(config.duration("drain_timeout"), Duration::from_secs(3));
    assert_eq!(config.port("port"), 2);
    assert_eq!(config.size("max_message_bytes"), 100);
    assert!(config.bool("enable_metrics"));
    let sources: BTreeMap<_, _> = config
        .rows()
        .map(|(name, _, source)| (name, source.to_string()))
        .collect();
    assert_eq!(sources["drain_timeout"], "flag");
    assert_eq!(sources["port"], "environment AGENT_PORT");
    assert_eq!(
        sources["max_message_bytes"],
        format!("file {}", file.path().display())
    );
    assert_eq!(sources["enable_metrics"], "default");
}

#[test]
fn all_mistakes_are_told_at_once_with_where_they_stand() {
    let file = file("drain_timeuot = \"1s\"\nhosts = [[1]]\nwhatever = 1\nmax_message_bytes = -1");
    let Mistakes(mistakes) = loader()
        .file(file.path())
        .env(env(&[
            ("DRAIN_TIMEOUT", "20"),
            ("ENABLE_METRICS", "maybe"),
            ("AGENT_PORT", "70000"),
        ]))
        .load()
        .unwrap_err();
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    let expected = [
        "drain_timeuot (file FILE): unknown key, did you mean drain_timeout?",
        "hosts = \"[[1]]\" (file FILE): expected a list such as a, b",
        "whatever (file FILE): unknown key, --help lists those there are",
        "drain_timeout = \"20\" (environment DRAIN_TIMEOUT): expected a duration such as 250ms, \
         10s or 5m",
        "max_message_bytes = \"-1\" (file FILE): expected a size in bytes such as 65536, 64KiB or \
         4MiB",
        "enable_metrics = \"maybe\" (environment ENABLE_METRICS): expected true or false",
        "port = \"70000\" (environment AGENT_PORT): expected a whole number from 0 to 65535",
    ];
    let path = file.path().display().to_string();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for line in expected {
        let line = line.replace("FILE", &path);
        assert!(told.contains(&line), "{line} is not in {told:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_a_mistake_among_others() {
    for path in [
        "/nowhere/mesh.toml",
        file("port = = 1").path().to_str().unwrap(),
    ] {
        let mistakes = loader()
            .file(path)
            .env(env(&[("AGENT_PORT", "x")]))
            .load()
            .unwrap_err();
        assert_eq!(mistakes.0.len(), 2, "{mistakes}");
        assert_eq!(mistakes.0[0].key, "config");
    }
}

#[test]
fn lists_and_pairs_are_written_as_toml_or_as_text() {
    let file = file("hosts = [\"a\", \"b\"]\n[policies]\nagent-echo = \"session\"");
    let config = loader().file(file.path()).load().unwrap();
    assert_eq!(config.list("hosts"), ["a", "b"]);
    assert_eq!(config.pairs("policies")["agent-echo"], "session");
    let variables = env(&[("HOSTS", "a, b,"), ("POLICIES", "agent-echo=random, x=y")]);
    let config = loader().env(variables).load().unwrap();
    assert_eq!(config.list("hosts"), ["a", "b"]);
    assert_eq!(config.pairs("policies")["agent-echo"], "random");
}

#[test]
fn secrets_are_shown_neither_in_values_nor_in_mistakes() {
    let config = loader().env(env(&[("TOKEN", "hunter2")])).load().unwrap();
    assert_eq!(config.text("token"), "hunter2");
    assert!(config.rows().all(|(_, value, _)| value != "hunter2"));
    let file = file("token = [[\"hunter2\"]]");
    let mistakes = loader().file(file.path()).load().unwrap_err();
    assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config = loader()
        .env(env(&[("AGENT_PORT", ""), ("DRAIN_TIMEOUT", "")]))
        .load()
        .unwrap();
    assert_eq!(config.port("port"), 50052);
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
    let Invocation::Run(config) = run(&args, &[("MESH_CONFIG", path), ("AGENT_PORT", "0")]) else {
        panic!("expected a configuration");
    };
    assert_eq!(config.duration("drain_timeout"), Duration::from_secs(20));
    assert_eq!((config.integer("weight"), config.port("port")), (5, 0));
    assert!(config.bool("enable_pprof"));
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
    Loader::new(keys.clone()).load().unwrap();
    let names: std::collections::BTreeSet<_> = keys.iter().map(|key| key.name).collect();
    let variables: std::collections::BTreeSet<_> = keys.iter().map(Key::env_name).collect();
    assert_eq!((names.len(), variables.len()), (keys.len(), keys.len()));
}

#[test]
fn the_example_file_loads_and_says_every_key() {
    let example = include_str!("../../../../config/example.toml");
    let config = Loader::new(SPEC.all_keys())
        .file(file(example).path())
        .load()
        .unwrap();
    for key in SPEC.all_keys() {
        let line = format!("{} = ", key.name);
        let there = example
            .lines()
            .any(|l| l.trim_start_matches("# ").starts_with(&line));
        assert!(
            there,
            "{line}is missing: --example-config prints the whole file"
        );
        assert_eq!(config.text(key.name), key.default, "{}", key.name);
    }
}

#[test]
fn what_kubernetes_tells_of_services_is_no_port_of_ours() {
    let service = |value: &str| {
        loader()
            .env(env(&[("AGENT_PORT", value)]))
            .load()
            .map(|config| config.port("port"))
    };
    for value in [
        "tcp://10.0.0.1:6379",
        "udp://10.0.0.1:53",
        "sctp://[fd00::1]:7",
        " tcp://10.0.0.1:1 ",
    ] {
        assert_eq!(service(value), Ok(50052), "{value}");
    }
    assert_eq!(service("7"), Ok(7));
    // What nobody but a person writes is a mistake, as before.
    for value in ["tcp://10.0.0.1", "http://h:1", "10.0.0.1:1", "tcp"] {
        assert!(service(value).is_err(), "{value}");
    }
    let flag = loader().flag("port", "tcp://10.0.0.1:6379".to_owned());
    assert!(flag.load().is_err(), "a flag is meant");
}
