//! Everything that carries out workflows, as processes: PostgreSQL, Redis, two runners of each kind, an agent.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use mesh_testkit::{Consul, Postgres, Program, Redis};
use runs::{RunStore, StoreOptions};
use serde_json::json;
use service::config::environment;
use tokio::task::JoinSet;

/// Longer than any run takes over any fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long a runner may be silent.
pub(crate) const LEASE: &str = "3s";

pub(crate) struct Fleet {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) workflow_runners: Vec<Program>,
    pub(crate) job_runners: Vec<Program>,
    pub(crate) store: Arc<dyn RunStore>,
    database: String,
    env: Vec<(&'static str, String)>,
    _agent: Program,
    consul: Consul,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        // What a killed Redis has not written is lost jobs, which are submitted again.
        let redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let (consul, redis, postgres) = tokio::join!(Consul::start(), redis, Postgres::start());
        let database = postgres.database().await;
        let own = [
            ("REDIS_URL", redis.url()),
            ("DATABASE_URL", database.clone()),
            ("JOBS_LEASE", LEASE.to_owned()),
            ("WORKFLOW_LEASE", LEASE.to_owned()),
            ("WORKFLOW_COMPARE", "2s".to_owned()),
            ("WORKERS", "32".to_owned()),
            ("DRAIN_DELAY", "0s".to_owned()),
        ];
        let env = [consul.env(), own.to_vec()].concat();
        let agent = Program::start("echo-agent", &env).await;
        consul.wait_passing("agent-echo", 1).await;
        let job_runners = Program::several("job-runner", 2, &env).await;
        let workflow_runners = Program::several("workflow-runner", 2, &env).await;
        Self {
            store: runs::open(&database, &StoreOptions::default()).unwrap(),
            postgres,
            redis,
            database,
            workflow_runners,
            job_runners,
            env,
            _agent: agent,
            consul,
        }
    }

    /// Kills a workflow runner, and starts another in its place.
    pub(crate) async fn kill_workflow_runner(&mut self, number: usize) {
        self.workflow_runners[number].process.kill();
        self.workflow_runners[number] = Program::start("workflow-runner", &self.env).await;
    }

    /// Kills a job runner, and starts another in its place.
    pub(crate) async fn kill_job_runner(&mut self, number: usize) {
        self.job_runners[number].process.kill();
        self.job_runners[number] = Program::start("job-runner", &self.env).await;
    }

    /// Has Consul know an agent that the test itself serves.
    pub(crate) async fn register(&self, service: &str, address: SocketAddr) {
        let registration = json!({
            "ID": format!("{service}-test"), "Name": service, "Tags": ["agent"],
            "Address": address.ip().to_string(), "Port": address.port(),
            "Check": {"TCP": address.to_string(), "Interval": "1s", "Timeout": "1s"},
        });
        self.consul
            .put("agent/service/register", &registration)
            .await;
        self.consul.wait_passing(service, 1).await;
    }

    /// Keeps runners from taking shards and from seeing that they have lost theirs, until this is dropped.
    pub(crate) async fn hold_leases(&self) -> JoinSet<()> {
        let connected = tokio_postgres::connect(&self.database, tokio_postgres::NoTls).await;
        let (client, connection) = connected.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let lock = "SELECT pg_advisory_lock(7310577388471021)";
        client.batch_execute(lock).await.unwrap();
        // The lock is gone with its connection.
        tasks.spawn(async move {
            pending::<()>().await;
            drop(client);
        });
        tasks
    }

    /// Kills everything that keeps or runs anything.
    pub(crate) fn kill_all(&mut self) {
        for program in self
            .workflow_runners
            .iter_mut()
            .chain(&mut self.job_runners)
        {
            program.process.kill();
        }
        self.postgres.kill();
        self.redis.kill();
    }

    /// Starts it again on what it left.
    pub(crate) async fn start_all(&mut self) {
        self.postgres.restart().await;
        self.redis.restart().await;
        self.job_runners = Program::several("job-runner", 2, &self.env).await;
        self.workflow_runners = Program::several("workflow-runner", 2, &self.env).await;
    }
}

/// A number that a variable may give.
pub(crate) fn number(name: &str, default: usize) -> usize {
    let given = environment();
    given
        .get(name)
        .map_or(default, |text| text.parse().expect("a number"))
}
