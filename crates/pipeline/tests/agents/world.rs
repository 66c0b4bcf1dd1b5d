//! Three tools and three agents in one mesh, and documents for them.

use std::{fs, sync::Arc};

use discovery::backends::Memory;
use mesh_pipeline::{Error, Report, Run};
use proto::agentplatform::{TaskResponse, agent_service_client::AgentServiceClient};
use service::{Context, ServerHandle, Services, Spec};
use tempfile::TempDir;
use testkit::{clients, local};
use tokio_util::sync::CancellationToken;

const GUIDE: &str = "# Running\n\n## Draining\n\nA router that is stopped finishes its calls. It \
    must leave\nthe registry first, and never cuts a call before `drain_timeout`.\n\n```toml\n\
    drain_timeout = \"15s\"\n```\n\n| key | meaning of a router's drain |\n|---|---|\n\
    | drain_delay | how long it serves on |\n\n## Cooking\n\nNothing of interest.\n";
pub(crate) const GOAL: &str = "how a router drains without zeppelins";

pub(crate) struct World {
    registry: Arc<Memory>,
    pub(crate) dir: TempDir,
    running: Vec<ServerHandle>,
}

type Build = fn(&Context) -> anyhow::Result<Services>;

impl World {
    /// The three tools and the three agents, these with the model at `model_url`.
    pub(crate) async fn new(model_url: &str) -> Self {
        let mut world = Self {
            registry: Arc::new(Memory::new()),
            dir: TempDir::new().unwrap(),
            running: Vec::new(),
        };
        let docs = world.dir.path().join("docs/guide");
        fs::create_dir_all(&docs).unwrap();
        fs::write(docs.join("running.md"), GUIDE).unwrap();
        let services: [(Spec, Build); 6] = [
            (fs_tool::SPEC, fs_tool::build),
            (docs_tool::SPEC, docs_tool::build),
            (web_tool::SPEC, web_tool::build),
            (research_agent::SPEC, research_agent::build),
            (code_agent::SPEC, code_agent::build),
            (review_agent::SPEC, review_agent::build),
        ];
        for (spec, build) in services {
            world.start(spec, build, model_url).await;
        }
        world
    }

    async fn start(&mut self, spec: Spec, build: Build, model_url: &str) {
        let path = |name| self.dir.path().join(name).display().to_string();
        let (out, docs) = (path("out"), path("docs"));
        let mut set = vec![
            ("out_dir", out.as_str()),
            ("docs_dir", &docs),
            ("model_url", model_url),
            ("model_name", "small"),
        ];
        // Each is a key of some of them only.
        set.retain(|(name, value)| {
            !value.is_empty() && spec.all_keys().iter().any(|key| key.name == *name)
        });
        let running = local::start(&spec, build, &self.registry, &set).await;
        self.running.push(running);
    }

    /// The mesh as the runner has it.
    pub(crate) fn mesh(&self) -> &channel::Mesh {
        &self.running[0].context().mesh
    }

    /// A run of the pipeline, called as the runner does.
    pub(crate) async fn try_run(&self, run_id: &str) -> Result<Report, Error> {
        let run = Run {
            run_id: run_id.to_owned(),
            goal: GOAL.to_owned(),
            deadline: None,
        };
        let cancel = CancellationToken::new();
        Box::pin(mesh_pipeline::run(self.mesh(), &run, &mut |_| {}, &cancel)).await
    }

    pub(crate) async fn run(&self) -> Report {
        self.try_run("run-7").await.unwrap()
    }

    pub(crate) async fn ask(&self, service: &str, parameters: &[(&str, &str)]) -> TaskResponse {
        let channel = self.mesh().channel(service);
        let task = clients::task(GOAL, parameters);
        let answer = AgentServiceClient::new(channel).execute_task(task).await;
        answer.unwrap().into_inner()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("out/run-7").join(name)).unwrap()
    }

    pub(crate) async fn end(self) {
        for running in self.running {
            running.drain().await;
        }
    }
}
