//! The configuration keys of a mount.

use std::time::Duration;

use config::{Secret, duration, integer, keys, list, optional, secret, size};

keys! {
    /// The server behind the mount.
    #[derive(Clone, Debug)]
    pub(crate) struct MountKeys: "Mounted MCP server" {
        /// Name of the mount: its service is `tool-NAME`.
        mount_name: Option<String> = optional()
            .only(is_name, "a name of a-z, 0-9 and dashes, up to 50 characters"),
        /// Command that is started as the server, as a shell splits it: quotes group words. The program
        /// takes it after `--` too.
        mount_command: Option<String> = optional(),
        /// Variables that the command gets beside PATH and HOME, each as NAME or NAME=VALUE. A comma
        /// within a value is written `\,`.
        mount_env: Vec<String> = list().hidden(),
        /// URL of a server that runs already. Empty: `mount_command` is started.
        mount_url: Option<String> = optional(),
        /// Headers of each request to `mount_url`, each `name: value` on a line of its own.
        mount_headers: Option<Secret> = secret(),
        /// Directories that the server is told as roots outside a call, as URIs or paths.
        mount_roots: Vec<String> = list(),
        /// How long the server may take to say what it is.
        mount_start_timeout: Duration = duration("30s").zero("no limit"),
        /// How long one request to the server may take.
        mount_timeout: Duration = duration("5m").zero("no limit"),
        /// Pause before the first restart. It doubles with each further one.
        mount_restart_min: Duration = duration("100ms").zero("no pause"),
        /// Longest pause before a restart.
        mount_restart_max: Duration = duration("30s").zero("no pause"),
        /// How long a call waits for a server that restarts.
        mount_wait: Duration = duration("5s").zero("it fails at once"),
        /// Largest message of the server. A larger one ends its connection.
        mount_max_message: usize = size("4MiB").bounded_by(1024),
        /// Requests to the server at once.
        mount_max_calls: usize = integer(4096, 1..=1_000_000, "requests"),
        /// Tools of the server that are taken.
        mount_max_tools: usize = integer(1000, 1..=100_000, "tools"),
        /// Messages that wait for one client. Further notifications are dropped, and counted.
        mount_queue: usize = integer(256, 1..=100_000, "messages"),
        /// Requests that wait for input of a client at once.
        mount_max_parked: usize = integer(1000, 0..=1_000_000, "requests").zero("none may ask"),
        /// How long such a request waits.
        mount_park_time: Duration = duration("5m").zero("it fails at once"),
        /// Sessions of clients of earlier revisions at once.
        mount_max_sessions: usize = integer(10_000, 0..=1_000_000, "sessions").zero("none"),
    }
}

/// Whether a mount may be called so.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.is_empty()
        || name.len() <= 50
            && name.chars().all(plain)
            && !name.starts_with('-')
            && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_dns_label_may_be() {
        for (name, good) in [
            ("everything", true),
            ("a-1", true),
            ("", true),
            ("A", false),
            ("a_b", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
            (&"a".repeat(51), false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
