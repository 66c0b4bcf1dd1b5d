//! Servers of other people: Python, grpcio.

use std::{path::Path, process::Command, time::Duration};

use crate::{Process, tools};

/// How long Python may take to import gRPC, on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A Python server that printed `listening <port>`.
#[derive(Debug)]
pub struct Python {
    /// Its process.
    pub process: Process,
    /// Its port on this host.
    pub port: u16,
}

impl Python {
    /// Runs a script with these arguments and waits for its port.
    pub async fn start(script: &Path, arguments: &[&str]) -> Self {
        let name = script
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or("python");
        let mut command = Command::new(tools::python());
        // No compiled files beside the sources.
        command.args(["-B", "-u"]).arg(script).args(arguments);
        let mut process = Process::start(name, command);
        let port = process
            .wait_for_line(START, |line| {
                line.strip_prefix("listening ")?.trim().parse().ok()
            })
            .await;
        Self { process, port }
    }
}
