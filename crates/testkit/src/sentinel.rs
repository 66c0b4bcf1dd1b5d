//! A real sentinel of Redis, which watches a primary and makes a replica the next one.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{Process, Redis, redis, tools};

/// How long it may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A `redis-sentinel` that alone decides.
#[derive(Debug)]
pub struct Sentinel {
    port: u16,
    name: String,
    _folder: TempDir,
    _process: Process,
}

impl Sentinel {
    /// Starts one that watches `primary` under a name; it takes a primary for dead that says nothing
    /// for half a second.
    pub async fn start(primary: &Redis, name: &str) -> Self {
        let folder = TempDir::with_prefix("sentinel-").expect("a temporary folder");
        let command = |[port]: [u16; 1]| {
            let conf: PathBuf = folder.path().join("sentinel.conf");
            let lines = format!(
                "bind 127.0.0.1\nport {port}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 2000\n",
                primary.port()
            );
            fs::write(&conf, lines).expect("a file in our folder");
            let mut command = Command::new(tools::tool("redis-server"));
            command
                .current_dir(folder.path())
                .arg(&conf)
                .arg("--sentinel");
            command
        };
        let serves = async |[port]: [u16; 1]| redis::answers(port);
        let ([port], process) =
            Process::on_free_ports("redis-sentinel", START, command, serves).await;
        Self {
            port,
            name: name.to_owned(),
            _folder: folder,
            _process: process,
        }
    }

    /// The address of whatever it calls the primary, as `REDIS_URL` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.port, self.name)
    }
}
