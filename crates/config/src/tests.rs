//! The configuration's promises, by table where there is one.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use tempfile::NamedTempFile;

use crate::{Loader, Mistakes, duration, list, port, secret, size, switch};

crate::keys! {
    /// Keys of all kinds.
    struct Keys: "keys" {
        /// About.
        drain_timeout: Duration = duration("15s"),
        /// About.
        max_message_bytes: usize = size("4MiB"),
        /// About.
        enable_metrics: bool = switch("true"),
        /// About.
        hosts: Vec<String> = list(),
        /// About.
        token: Option<crate::Secret> = secret(),
        /// About.
        port: u16 = port(50052).env("AGENT_PORT"),
    }
    retired {
        "policies" => "write lb_policy",
    }
    removed {
        "old" => "remove it",
    }
}

crate::keys! {
    /// Keys that the program does not have.
    struct Other: "others", absent: "does not call other services" {
        /// About.
        max_attempts: u32 = crate::integer(3, 1..=9, "attempts").zero("none"),
    }
}

fn loader() -> Loader {
    Loader::new(Keys::KEYS.to_vec())
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

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = file("drain_timeout = \"1s\"\nmax_message_bytes = 100\nport = 1");
    let config = loader()
        .file(file.path())
        .env(env(&[("DRAIN_TIMEOUT", "2s"), ("AGENT_PORT", "2")]))
        .flag("drain_timeout", "3s")
        .load()
        .unwrap();
    assert_eq!(
        Keys::from_config(&config).drain_timeout,
        Duration::from_secs(3)
    );
    assert_eq!(Keys::from_config(&config).port, 2);
    assert_eq!(Keys::from_config(&config).max_message_bytes, 100);
    assert!(Keys::from_config(&config).enable_metrics);
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
fn lists_are_written_as_toml_or_as_text() {
    let file = file("hosts = [\"a\", \"b\"]");
    let config = loader().file(file.path()).load().unwrap();
    assert_eq!(Keys::from_config(&config).hosts, ["a", "b"]);
    let config = loader().env(env(&[("HOSTS", "a, b,")])).load().unwrap();
    assert_eq!(Keys::from_config(&config).hosts, ["a", "b"]);
    // A comma of an entry separates nothing.
    let file = self::file("hosts = [\"a,b\", \"c\"]");
    let config = loader().file(file.path()).load().unwrap();
    assert_eq!(Keys::from_config(&config).hosts, ["a,b", "c"]);
    let config = loader().env(env(&[("HOSTS", r"a\,b, c")])).load().unwrap();
    assert_eq!(Keys::from_config(&config).hosts, ["a,b", "c"]);
}

#[test]
fn secrets_are_shown_neither_in_values_nor_in_mistakes() {
    let config = loader().env(env(&[("TOKEN", "hunter2")])).load().unwrap();
    assert_eq!(
        Keys::from_config(&config).token.unwrap().expose(),
        "hunter2"
    );
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
    assert_eq!(Keys::from_config(&config).port, 50052);
}

#[test]
fn what_kubernetes_tells_of_services_is_no_port_of_ours() {
    let service = |value: &str| {
        loader()
            .env(env(&[("AGENT_PORT", value)]))
            .load()
            .map(|config| Keys::from_config(&config).port)
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
    let flag = loader().flag("port", "tcp://10.0.0.1:6379");
    assert!(flag.load().is_err(), "a flag is meant");
}

#[test]
fn a_key_of_other_programs_is_refused_with_the_reason_and_its_variable_is_left_alone() {
    let loader = || loader().program("echo-agent", &[Other::GROUP]);
    let told = |loader: Loader| loader.load().unwrap_err().to_string();
    let expected = "echo-agent does not call other services: it has no key `max_attempts`";
    let file = file("max_attempts = 5");
    assert!(told(loader().file(file.path())).contains(expected));
    assert!(told(loader().flag("max_attempts", "5")).contains(expected));
    assert!(loader().env(env(&[("MAX_ATTEMPTS", "5")])).load().is_ok());
}

#[test]
fn a_removed_key_is_refused_but_its_variable_is_ignored_with_a_warning() {
    let loader = || loader().retired(Keys::GROUP.retired.iter().copied());
    let expected = "no key any more: remove it";
    let file = file("old = 1");
    for loader in [loader().file(file.path()), loader().flag("old", "1")] {
        let told = loader.load().unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    let config = loader().env(env(&[("OLD", "1")])).load().unwrap();
    let [warning] = config.warnings() else {
        panic!("{:?}", config.warnings());
    };
    assert_eq!(
        *warning,
        "the variable OLD is ignored: no key any more: remove it"
    );
    assert!(loader().load().unwrap().warnings().is_empty());
}

#[test]
fn a_retired_key_is_refused_wherever_it_is_given_with_its_successor() {
    let loader = || loader().retired(Keys::GROUP.retired.iter().copied());
    let expected = "no key any more: write lb_policy";
    let file = file("policies = \"a=random\"");
    for loader in [
        loader().file(file.path()),
        loader().flag("policies", "a=random"),
        loader().env(env(&[("POLICIES", "a=random")])),
    ] {
        let told = loader.load().unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_struct_without_its_keys_in_the_configuration_has_their_defaults() {
    let other = Other::from_config(&loader().load().unwrap());
    assert_eq!(other.max_attempts, Other::default().max_attempts);
    assert_eq!(other.max_attempts, 3);
}

#[test]
fn a_key_says_what_it_does_its_unit_its_bounds_and_what_0_means() {
    let key = &Other::KEYS[0];
    assert_eq!(key.about(), "About. 0: none.");
    assert_eq!(key.value(), "attempts, 1 to 9");
    let table = crate::table(Other::KEYS.iter());
    assert!(
        table.contains("| `max_attempts` | About. 0: none. | attempts, 1 to 9 | `3` |"),
        "{table}"
    );
    let example = crate::example(Other::KEYS.iter(), |_| true);
    assert!(example.contains("\n# max_attempts = 3\n"), "{example}");
}
