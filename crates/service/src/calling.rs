//! How an instance calls others: a configuration key for every limit and time of the channel.

use channel::ClusterOptions;

use crate::config::{Config, Key, Type};

/// One key, and where its value goes.
struct Row {
    key: Key,
    set: fn(&mut ClusterOptions, &Config, &str),
}

const fn row(key: Key, set: fn(&mut ClusterOptions, &Config, &str)) -> Row {
    Row { key, set }
}

const fn integer(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key::new(name, Type::Integer(1, u32::MAX as u64), default, about)
}

const fn percent(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key::new(name, Type::Integer(0, 100), default, about)
}

const fn share(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key::new(name, Type::Number(0.0, 1.0), default, about)
}

const ROWS: &[Row] = &[
    row(
        Key::duration(
            "connect_timeout",
            "1s",
            "longest time for one connection to an instance",
        ),
        |o, c, k| o.connect_timeout = c.duration(k),
    ),
    row(
        Key::duration(
            "connect_patience",
            "100ms",
            "a call waits so long for a connection alone",
        ),
        |o, c, k| o.connect_patience = c.duration(k),
    ),
    row(
        Key::duration(
            "backoff_min",
            "100ms",
            "pause after a failed connect; doubles each time",
        ),
        |o, c, k| o.backoff_min = c.duration(k),
    ),
    row(
        Key::duration("backoff_max", "1m", "longest pause between connects"),
        |o, c, k| o.backoff_max = c.duration(k),
    ),
    row(
        Key::duration(
            "tcp_keepalive",
            "10s",
            "idle time before TCP probes an instance",
        ),
        |o, c, k| o.tcp_keepalive = c.duration(k),
    ),
    row(
        Key::duration(
            "tcp_keepalive_interval",
            "5s",
            "time between two TCP probes",
        ),
        |o, c, k| o.tcp_keepalive_interval = c.duration(k),
    ),
    row(
        Key::duration(
            "tcp_user_timeout",
            "20s",
            "sent bytes may stay unacknowledged, or an instance silent, so long",
        ),
        |o, c, k| o.tcp_user_timeout = c.duration(k),
    ),
    row(
        integer("max_in_flight", "1024", "calls in flight to one instance"),
        |o, c, k| o.max_in_flight = c.integer(k),
    ),
    row(
        integer("max_connections", "64", "connections to one instance"),
        |o, c, k| o.max_connections = c.integer(k),
    ),
    row(
        Key::duration(
            "idle_timeout",
            "5m",
            "connections to an instance are closed after so long without a call",
        ),
        |o, c, k| o.idle_timeout = c.duration(k),
    ),
    row(
        Key::duration(
            "queue_timeout",
            "3s",
            "a call waits so long for an instance to take it",
        ),
        |o, c, k| o.queue_timeout = c.duration(k),
    ),
    row(
        Key::duration(
            "default_timeout",
            "0s",
            "deadline of calls that bring none; 0 is none",
        ),
        |o, c, k| o.default_timeout = c.duration(k),
    ),
    row(
        integer(
            "max_attempts",
            "3",
            "attempts for one call, the first included",
        ),
        |o, c, k| o.max_attempts = c.integer(k),
    ),
    row(
        Key::size(
            "retry_buffer",
            "64KiB",
            "a larger request is sent only once",
        ),
        |o, c, k| o.retry_buffer = c.size(k),
    ),
    row(
        share("retry_ratio", "0.2", "retries allowed per call on average"),
        |o, c, k| o.retry_ratio = c.number(k),
    ),
    row(
        Key::new(
            "retry_per_second",
            Type::Number(0.0, 1e6),
            "10",
            "retries allowed each second whatever the number of calls",
        ),
        |o, c, k| o.retry_per_second = c.number(k),
    ),
    row(
        integer(
            "ejection_failures",
            "5",
            "failures in a row that eject an instance",
        ),
        |o, c, k| o.ejection_failures = c.integer(k),
    ),
    row(
        Key::duration(
            "ejection_time",
            "30s",
            "first ejection; the n-th lasts n times as long",
        ),
        |o, c, k| o.ejection_time = c.duration(k),
    ),
    row(
        Key::duration("ejection_max", "5m", "longest ejection"),
        |o, c, k| o.ejection_max = c.duration(k),
    ),
    row(
        percent(
            "ejection_percent",
            "50",
            "share of a service that may be ejected",
        ),
        |o, c, k| o.ejection_percent = c.integer(k),
    ),
    row(
        percent(
            "panic_percent",
            "50",
            "below this share of usable instances all are used",
        ),
        |o, c, k| o.panic_percent = c.integer(k),
    ),
    row(
        Key::duration(
            "hedge_delay",
            "0s",
            "a call that may run twice goes to a second instance after so long; 0 is never",
        ),
        |o, c, k| o.hedge_delay = c.duration(k),
    ),
    row(
        integer(
            "hedge_max",
            "2",
            "instances that one call is sent to so, the first included",
        ),
        |o, c, k| o.hedge_max = c.integer(k),
    ),
    row(
        Key::duration(
            "silence",
            "1s",
            "an instance silent for so long is asked for its health",
        ),
        |o, c, k| o.silence = c.duration(k),
    ),
    row(
        Key::duration(
            "silence_probe",
            "1s",
            "it is ejected when it does not answer for so long",
        ),
        |o, c, k| o.silence_probe = c.duration(k),
    ),
    row(
        Key::new(
            POLICY,
            Type::OneOf(policies),
            "",
            "balancing policy of services that announce none; least_request by default",
        ),
        |o, c, k| o.lb_policy = c.optional(k).map(str::to_owned),
    ),
    row(
        Key::new(
            "policies",
            Type::Pairs,
            "",
            "balancing policy by Consul service name",
        ),
        // A setting of the services that it names.
        |_, _, _| {},
    ),
    row(
        Key::duration(
            "slow_start",
            "10s",
            "a new instance comes to its full share in this time",
        ),
        |o, c, k| o.balance.slow_start = c.duration(k),
    ),
    row(
        share(
            "slow_start_from",
            "0.1",
            "part of its share that it begins with",
        ),
        |o, c, k| o.balance.slow_start_from = c.number(k),
    ),
    row(
        Key::duration(
            "ewma_decay",
            "10s",
            "how long peak_ewma remembers a slow answer",
        ),
        |o, c, k| o.balance.ewma_decay = c.duration(k),
    ),
    row(
        Key::new(
            "burst",
            Type::Integer(0, u32::MAX as u64),
            "16",
            "calls in flight more than another's with which least_request keeps one client's together; 0 is none",
        ),
        |o, c, k| o.balance.affinity_slack = c.integer(k),
    ),
    row(
        Key::new(
            "session_bound",
            Type::Number(0.0, 100.0),
            "0",
            "sessions leave an instance with so many times the mean load, such as 1.25; 0 is never",
        ),
        |o, c, k| o.balance.session_bound = Some(c.number(k)).filter(|bound| *bound > 0.0),
    ),
    row(
        Key::duration(
            "load_blackout",
            "10s",
            "an instance reports its load for so long before load_aware goes by it",
        ),
        |o, c, k| o.balance.load_blackout = c.duration(k),
    ),
    row(
        Key::duration(
            "load_expiry",
            "3m",
            "a load report counts for so long when no other follows",
        ),
        |o, c, k| o.balance.load_expiry = c.duration(k),
    ),
];

/// The balancing policy.
pub(crate) const POLICY: &str = "lb_policy";

/// Keys that are for the whole program, since services share what they bound.
const PROGRAM: &[&str] = &[
    "max_connections",
    "policies",
    "retry_buffer",
    "tcp_keepalive",
    "tcp_keepalive_interval",
    "tcp_user_timeout",
];

/// The keys that each service can have a value of its own for.
pub(crate) fn service_keys() -> impl Iterator<Item = Key> {
    keys().filter(|key| !PROGRAM.contains(&key.name))
}

/// Every name of a policy.
fn policies() -> Vec<&'static str> {
    let names = |row: &balance::PolicyRow| [&[row.name], row.aliases].concat();
    balance::POLICIES.iter().flat_map(names).collect()
}

/// The keys.
pub(crate) fn keys() -> impl Iterator<Item = Key> {
    ROWS.iter().map(|row| row.key.clone())
}

/// What they say.
pub(crate) fn options(config: &Config) -> ClusterOptions {
    let mut options = ClusterOptions::default();
    for row in ROWS {
        (row.set)(&mut options, config, row.key.name);
    }
    // The same limit as that of the port.
    options.max_header_bytes = config.size("max_header_bytes");
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    /// The keys, and the port's that is the channel's too.
    fn all() -> Vec<Key> {
        let shared = Key::size("max_header_bytes", "64KiB", "the port's");
        keys().chain([shared]).collect()
    }

    #[test]
    fn the_keys_of_the_whole_program_are_among_the_keys() {
        for name in PROGRAM {
            assert!(keys().any(|key| key.name == *name), "{name}");
        }
    }

    #[test]
    fn the_guide_names_each_key_that_a_service_can_have() {
        let guide = include_str!("../../../docs/guide/configuration.md");
        for key in service_keys().filter(|key| !key.name.starts_with("ejection_")) {
            assert!(guide.contains(&format!("`{}`", key.name)), "{}", key.name);
        }
    }

    #[test]
    fn defaults_are_those_of_the_channel() {
        let config = Loader::new(all()).load().unwrap();
        assert_eq!(
            format!("{:?}", options(&config)),
            format!("{:?}", ClusterOptions::default())
        );
    }

    #[test]
    fn every_key_reaches_an_option_of_its_own() {
        let default = format!("{:?}", options(&Loader::new(all()).load().unwrap()));
        for key in keys().filter(|key| key.name != "policies") {
            let other = match key.kind {
                Type::OneOf(_) => "Session",
                Type::Duration(_) => "77s",
                Type::Number(..) => "0.77",
                _ => "77",
            };
            let config = Loader::new(all()).set(key.name, other).load().unwrap();
            assert_ne!(format!("{:?}", options(&config)), default, "{}", key.name);
        }
    }
}
