//! A Redis, an echo agent and runners.

use std::{net::SocketAddr, process::Command, time::Duration};

use jobs::{JobId, JobRecord, JobStatus, Jobs};
use serde_json::Value;
use service::{Loader, ServerHandle};
use testkit::{Process, Redis, http_client, local, until};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Stage {
    pub(crate) redis: Redis,
    pub(crate) jobs: Jobs,
    pub(crate) echo: ServerHandle,
}

impl Stage {
    /// A queue whose leases end after 2 s, and an echo agent whose tasks take `delay`.
    pub(crate) async fn set(delay: &str) -> Self {
        let redis = Redis::start(&[]).await;
        let config = Loader::new(work::QueueKeys::KEYS.to_vec())
            .set("redis_url", redis.url())
            .set("jobs_lease", "2s")
            .load()
            .unwrap();
        let jobs = work::open(&config).unwrap();
        let set = [("delay", delay)];
        let (echo, _) = local::start_alone(&echo_agent::SPEC, echo_agent::build, &set).await;
        Self { redis, jobs, echo }
    }

    /// A runner, with what is to be other than usual.
    pub(crate) async fn runner(&self, env: &[(&str, &str)]) -> Runner {
        let mut command = Command::new(env!("CARGO_BIN_EXE_job-runner"));
        command
            .env("REDIS_URL", self.redis.url())
            .env("JOBS_LEASE", "2s")
            .env("JOBS_BACKOFF_BASE", "50ms")
            .env("DISCOVERY", "fixed")
            .env(
                "FIXED_INSTANCES",
                format!("agent-echo={}", self.echo.grpc_addr),
            )
            .env("TASK_AGENT", "echo-agent")
            .env("TASK_LOOK", "300ms")
            .env("QUEUE_SAMPLE", "200ms")
            .env("RUNNER_PORT", "0")
            .env("LISTEN_ADDRESS", "127.0.0.1")
            .env("ADMIN_ADDRESS", "127.0.0.1")
            .env("DRAIN_DELAY", "0s")
            .env("LOG_FORMAT", "json")
            .envs(env.iter().copied());
        let mut process = Process::start("job-runner", command);
        let line = process.wait_for_line(PATIENCE, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "serving").then_some(line)
        });
        let address = line.await["grpc"].as_str().unwrap().parse().unwrap();
        Runner { process, address }
    }

    pub(crate) async fn submit(&self, kind: &str, payload: &Value) -> JobId {
        let job = work::kind(kind).unwrap().read(payload).unwrap();
        self.jobs.submit(job).await.unwrap().id
    }

    /// Waits until a job is as wanted.
    pub(crate) async fn wait(&self, id: &JobId, is: impl Fn(&JobRecord) -> bool) -> JobRecord {
        let what = format!("job {id} is as wanted");
        until(&what, PATIENCE, async || {
            self.jobs.get(id).await.ok().filter(&is)
        })
        .await
    }

    pub(crate) async fn ended(&self, id: &JobId) -> JobRecord {
        self.wait(id, |record| record.status.is_terminal()).await
    }
}

pub(crate) struct Runner {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Runner {
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        http_client::get(&format!("http://{}{path}", self.address))
            .await
            .unwrap()
    }

    pub(crate) async fn admin_metrics(&self) -> String {
        let log = self.process.log();
        let line = log.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "serving").then_some(line)
        });
        let admin = line.unwrap()["admin"].as_str().unwrap().to_owned();
        http_client::get(&format!("http://{admin}/metrics"))
            .await
            .unwrap()
            .1
    }
}

/// The result of a job, which has to have one.
pub(crate) fn result(record: &JobRecord) -> Value {
    let error = &record.header.error;
    assert_eq!(record.status, JobStatus::Succeeded, "{error:?}");
    serde_json::from_slice(record.result.as_ref().unwrap().bytes()).unwrap()
}

/// An echo call.
pub(crate) fn echo(input: &str) -> Value {
    serde_json::json!({
        "service": "agent-echo",
        "method": "agentplatform.AgentService/ExecuteTask",
        "payload": { "task_id": "t", "agent_id": "echo-agent", "input": input },
    })
}
