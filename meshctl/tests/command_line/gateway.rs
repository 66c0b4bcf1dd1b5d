//! A gateway of a test's own.

use std::sync::Arc;

use discovery::backends::Memory;
use jobs::Jobs;
use service::ServerHandle;
use tempfile::TempDir;
use testkit::local;

use crate::mesh::{Answer, meshctl, run_command};

/// A gateway with its jobs in a folder.
pub(crate) struct Gateway {
    pub(crate) running: ServerHandle,
    pub(crate) jobs: Jobs,
    _folder: TempDir,
}

impl Gateway {
    pub(crate) async fn start(set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let set = [&[("jobs_path", path.as_str())], set].concat();
        let jobs = work::open(&local::config(&gateway::SPEC, &set)).expect("a store");
        let registry = Arc::new(Memory::new());
        Self {
            running: local::start(&gateway::SPEC, gateway::build, &registry, &set).await,
            jobs,
            _folder: folder,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.running.grpc_addr.to_string()
    }

    /// Runs `meshctl` against it.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        let mut command = meshctl(args);
        command.env("MESH_GATEWAY", self.address());
        run_command(command, "")
    }
}
