//! Everything that takes jobs in and does them: a Redis, a gateway, runners, the agents and tools.

use std::{fs, net::SocketAddr, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Consul, Program, Redis};

/// Who a pipeline calls, with the Consul service of each.
const PIPELINE: [(&str, &str); 5] = [
    ("fs-tool", "tool-fs"),
    ("docs-tool", "tool-docs"),
    ("research-agent", "agent-research"),
    ("code-agent", "agent-code"),
    ("review-agent", "agent-review"),
];

/// A mesh that does jobs. Calls go straight to the instances: there is no router.
#[derive(Debug)]
pub struct JobMesh {
    /// Its HTTP port is [`Program::grpc`].
    pub gateway: Program,
    /// Its HTTP port is [`Program::grpc`], too.
    pub runner: Program,
    /// Agents and tools, in the order of their start.
    pub services: Vec<Program>,
    /// Who knows them all.
    pub consul: Consul,
    /// What keeps the jobs.
    pub redis: Redis,
    folder: TempDir,
    env: Vec<(&'static str, String)>,
}

impl JobMesh {
    /// Starts one around an echo agent alone, with these variables for every program.
    pub async fn start(env: &[(&'static str, String)]) -> Self {
        Self::around(&[], &[("echo-agent", "agent-echo")], env).await
    }

    /// Starts one that runs pipelines over documents, each a name and its text.
    pub async fn with_pipeline(documents: &[(&str, &str)], env: &[(&'static str, String)]) -> Self {
        Self::around(documents, &PIPELINE, env).await
    }

    async fn around(
        documents: &[(&str, &str)],
        services: &[(&str, &str)],
        env: &[(&'static str, String)],
    ) -> Self {
        let folder = TempDir::with_prefix("jobs-").expect("a temporary folder");
        let docs = folder.path().join("docs");
        fs::create_dir(&docs).expect("a folder in ours");
        for (name, text) in documents {
            fs::write(docs.join(name), text).expect("a file in ours");
        }
        let (consul, redis) = tokio::join!(Consul::start(), Redis::start(&[]));
        let own = [
            ("REDIS_URL", redis.url()),
            // A runner that is gone is missed soon.
            ("JOBS_LEASE", "3s".to_owned()),
            ("JOBS_BACKOFF_BASE", "200ms".to_owned()),
            ("DOCS_DIR", docs.display().to_string()),
            ("OUT_DIR", folder.path().join("out").display().to_string()),
            ("TASKS_PORT", "0".to_owned()),
            ("DRAIN_DELAY", "0s".to_owned()),
        ];
        // Of a variable that is given twice, the last counts.
        let env = [consul.env(), own.to_vec(), env.to_vec()].concat();
        let mut programs = Vec::new();
        for (program, _) in services {
            programs.push(Program::start(program, &env).await);
        }
        for (_, service) in services {
            consul.wait_passing(service, 1).await;
        }
        let named = |name: &str| [&env[..], &[("OTEL_SERVICE_NAME", name.to_owned())]].concat();
        Self {
            // In traces they have the names that the compose project gives them.
            gateway: Program::start("mesh-gateway", &named("agents-app")).await,
            runner: Program::start("job-runner", &named("agents-worker")).await,
            services: programs,
            consul,
            redis,
            folder,
            env,
        }
    }

    /// Another runner.
    pub async fn another_runner(&self) -> Program {
        Program::start("job-runner", &self.env).await
    }

    /// The agent or tool of this name.
    ///
    /// # Panics
    /// When it was not started.
    pub fn service(&mut self, name: &str) -> &mut Program {
        let found = self.services.iter_mut().find(|it| it.id.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} was started"))
    }

    /// Where the gateway's tasks port is.
    #[must_use]
    pub fn tasks_address(&self) -> SocketAddr {
        let log = self.gateway.process.log();
        let address = log.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["tasks"].as_str()?.parse().ok()
        });
        address.expect("the gateway says where its ports are")
    }

    /// A file that a run left.
    #[must_use]
    pub fn file(&self, run_id: &str, name: &str) -> PathBuf {
        self.folder.path().join("out").join(run_id).join(name)
    }

    /// What such a file says; nothing while it is not there.
    #[must_use]
    pub fn read(&self, run_id: &str, name: &str) -> String {
        fs::read_to_string(self.file(run_id, name)).unwrap_or_default()
    }
}
