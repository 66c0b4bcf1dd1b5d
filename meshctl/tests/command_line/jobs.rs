//! `meshctl jobs`, against the real gateway.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use jobs::{Failure, Job, JobContext, JobHandler, Payload, Worker};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::mesh::{Answer, meshctl, run_command};

/// A gateway, and somebody who does its jobs.
struct Gateway {
    gateway: crate::gateway::Gateway,
    workers: JoinSet<()>,
}

impl std::ops::Deref for Gateway {
    type Target = crate::gateway::Gateway;

    fn deref(&self) -> &Self::Target {
        &self.gateway
    }
}

/// Does what the url of a job says.
struct Doer;

#[async_trait::async_trait]
impl JobHandler for Doer {
    async fn run(&self, job: &Job, context: &JobContext) -> Result<Option<Payload>, Failure> {
        let payload: Value = serde_json::from_slice(job.payload.bytes()).unwrap();
        let url = payload["url"].as_str().unwrap();
        if url.ends_with("/bad") {
            return Err(Failure::permanent("it is \x1b[31mbad\nand worse"));
        }
        context.progress("50%").await.unwrap();
        if url.ends_with("/endless") {
            std::future::pending::<()>().await;
        }
        Ok(Some(Payload::json(&json!({ "asked": url }))))
    }
}

impl Gateway {
    async fn start(set: &[(&str, &str)]) -> Self {
        Self {
            gateway: crate::gateway::Gateway::start(set).await,
            workers: JoinSet::new(),
        }
    }

    /// Lets jobs be done from now on.
    fn work(&mut self) {
        self.serve("default");
    }

    fn serve(&mut self, queue: &str) {
        let worker = Worker::new(self.jobs.clone(), queue, "w", 4, Arc::new(Doer));
        self.workers.spawn(async move {
            let never = CancellationToken::new();
            worker.run(never, Duration::ZERO).await;
        });
    }

    /// Runs `meshctl jobs …` against it.
    fn run(&self, args: &[&str]) -> Answer {
        self.gateway.run(&[&["jobs"], args].concat())
    }

    fn submit(&self, what: &str, more: &[&str]) -> String {
        let payload = format!(r#"{{"url":"http://somewhere/{what}"}}"#);
        let args = [&["submit", "http", payload.as_str()], more].concat();
        self.run(&args).ok().stdout.trim().to_owned()
    }

    fn get(&self, id: &str) -> Value {
        self.run(&["get", id, "--json"]).ok().value()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_handed_in_with_its_options_and_looked_at() {
    let gateway = Gateway::start(&[]).await;
    let options = "--queue slow --priority 5 --delay 1h --timeout 90s --max-attempts 2 --key k";
    let options: Vec<&str> = options.split(' ').collect();
    let id = gateway.submit("x", &options);
    assert_eq!(gateway.submit("x", &options), id, "one key is one job");
    let job = gateway.get(&id);
    for (field, expected) in [
        ("kind", json!("http")),
        ("queue", json!("slow")),
        ("status", json!("scheduled")),
        ("priority", json!(5)),
        ("max_attempts", json!(2)),
    ] {
        assert_eq!(job[field], expected, "{job}");
    }
    let stored = gateway.jobs.get(&id.parse().unwrap()).await.unwrap();
    assert_eq!(stored.header.timeout_ms, 90_000);
    let shown = gateway.run(&["get", &id]).ok().stdout;
    assert!(shown.contains("\nstatus    scheduled\n"), "{shown}");
    assert!(shown.contains("\nruns at   20"), "{shown}");

    let other = r#"{"url":"http://other/"}"#;
    let other = [&["submit", "http", other][..], &options].concat();
    let answer = gateway.run(&other);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.starts_with("error: 409 "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_come_from_the_command_line_a_file_or_standard_input() {
    let gateway = Gateway::start(&[]).await;
    let payload = r#"{"url":"http://somewhere/"}"#;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), payload).unwrap();
    let file = format!("@{}", file.path().display());
    for given in [payload, &file, "-"] {
        let mut command = meshctl(&["jobs", "submit", "http", given]);
        command.args(["--json", "--gateway", &gateway.address()]);
        let value = run_command(command, payload).ok().value();
        assert_eq!(value["status"], "queued", "{value}");
    }
    let call = [
        "submit",
        "call",
        r#"{"input":"hi"}"#,
        "-H",
        "x-mesh-session: s",
    ];
    let to = ["--service", "agent-echo", "--method", "a.B/C"];
    let id = gateway.run(&[&call[..], &to].concat()).ok().stdout;
    let stored = gateway.jobs.get(&id.trim().parse().unwrap()).await.unwrap();
    assert_eq!(stored.header.kind, "call");
    for (args, text) in [
        (["submit", "http", "oops"], "the payload is not JSON"),
        (["submit", "http", "@/no/such"], "/no/such"),
        (["submit", "frog", "{}"], "kind"),
    ] {
        let answer = gateway.run(&args);
        assert_eq!(answer.code, Some(1));
        assert!(answer.stderr.contains(text), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_job_is_told_to_its_end_which_is_the_exit_code() {
    let mut gateway = Gateway::start(&[]).await;
    let good = gateway.submit("good", &[]);
    let bad = gateway.submit("bad", &[]);
    let cancelled = gateway.submit("x", &["--delay", "1h"]);
    gateway.run(&["cancel", &cancelled]).ok();
    gateway.work();

    let answer = gateway.run(&["watch", &good]).ok();
    let lines = answer.json();
    let (job, events) = lines.split_last().unwrap();
    let names: Vec<_> = events.iter().map(|event| event["event"].clone()).collect();
    assert_eq!(names, ["queued", "running", "progress", "succeeded"]);
    assert_eq!(events[2]["progress"], "50%");
    assert_eq!(job["result"]["asked"], "http://somewhere/good");

    let answer = gateway.run(&["watch", &bad]);
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert_eq!(answer.json().last().unwrap()["status"], "dead");
    let answer = gateway.run(&["watch", &cancelled]);
    assert_eq!(answer.code, Some(4), "{answer:?}");

    let payload = r#"{"url":"http://somewhere/"}"#;
    let answer = gateway.run(&["submit", "http", payload, "--watch"]).ok();
    assert_eq!(answer.json().last().unwrap()["status"], "succeeded");

    let answer = gateway.run(&["watch", "default.0.nobody"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.starts_with("error: 404 "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_a_runner_that_is_not_there_is_remarked_on() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.serve("other");
    testkit::wait::until("that is known", Duration::from_secs(20), async || {
        let served = gateway.jobs.is_served("other").await;
        (served == Some(true)).then_some(())
    })
    .await;
    let text = "no runner serves the queue \"default\": start a job-runner with QUEUES=default\n";
    let payload = r#"{"url":"http://somewhere/good"}"#;
    let answer = gateway.run(&["submit", "http", payload]).ok();
    assert_eq!(answer.stderr, text);
    let id = answer.stdout.trim();
    let shown = gateway.run(&["get", id]).ok().stdout;
    assert!(shown.contains(&format!("\nwarning   {text}")), "{shown}");
    let queues = gateway.run(&["queues"]).ok().stdout;
    let served: Vec<_> = queues
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(served, ["SERVED", "no"], "{queues}");
    gateway.work();
    testkit::wait::until("it is done", Duration::from_secs(20), async || {
        (gateway.get(id)["status"] == "succeeded").then_some(())
    })
    .await;
    let queues = gateway.run(&["queues", "--json"]).ok().value();
    assert_eq!(queues[0]["served"], true);
    let answer = gateway.run(&["submit", "http", payload]).ok();
    assert_eq!(answer.stderr, "");
    gateway.workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_is_called_off_ends_soon() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.work();
    let id = gateway.submit("endless", &[]);
    testkit::wait::until("it runs", Duration::from_secs(20), async || {
        (gateway.get(&id)["status"] == "running").then_some(())
    })
    .await;
    let shown = gateway.run(&["cancel", &id]).ok().stdout;
    assert!(shown.starts_with(&id), "{shown}");
    let answer = gateway.run(&["watch", &id]);
    assert_eq!(answer.code, Some(4), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_follow_the_pages_and_heed_filters() {
    let gateway = Gateway::start(&[]).await;
    let new = |number: u32| jobs::NewJob {
        queue: ["default", "other"][usize::from(number.is_multiple_of(10))].to_owned(),
        ..jobs::NewJob::new("task", Payload::Json(number.to_string().into()))
    };
    for _ in 0..2 {
        let taken = gateway.jobs.submit_all((0..130).map(new).collect());
        assert!(taken.await.unwrap().iter().all(Result::is_ok));
    }
    gateway.submit("x", &["--delay", "1h"]);
    let count = |args: &[&str]| {
        let jobs = gateway
            .run(&[&["list", "--json"], args].concat())
            .ok()
            .json();
        let ids: std::collections::BTreeSet<_> =
            jobs.iter().map(|job| job["job_id"].to_string()).collect();
        assert_eq!(ids.len(), jobs.len(), "none twice");
        jobs.len()
    };
    assert_eq!(count(&["--limit", "0"]), 261);
    assert_eq!(count(&[]), 100);
    assert_eq!(count(&["--limit", "205"]), 205);
    assert_eq!(count(&["--queue", "other"]), 26);
    assert_eq!(count(&["--status", "scheduled"]), 1);
    assert_eq!(count(&["--kind", "task", "--limit", "0"]), 260);

    let table = gateway
        .run(&["list", "--queue", "other", "--limit", "2"])
        .ok();
    let lines: Vec<_> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{table:?}");
    assert!(lines[0].starts_with("ID ") && lines[1].contains("  task  queued  0/5"));
    assert!(table.stderr.contains("--limit"), "{table:?}");

    let queues = gateway.run(&["queues"]).ok().stdout;
    let row: Vec<_> = queues.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[..2], ["other", "26"], "{queues}");
    let answer = gateway.run(&["list", "--status", "frog"]);
    assert!(answer.stderr.starts_with("error: 422 "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_and_queued_again_though_the_gateway_limits_requests() {
    let limits = [("request_rate", "20"), ("request_burst", "10")];
    let mut gateway = Gateway::start(&limits).await;
    gateway.work();
    let bad: Vec<_> = (0..30)
        .map(|number| {
            let url = json!({ "url": format!("http://{number}/bad") });
            jobs::NewJob::new("http", Payload::json(&url))
        })
        .collect();
    gateway.jobs.submit_all(bad).await.unwrap();
    testkit::wait::until("all are dead", Duration::from_secs(20), async || {
        let queues = gateway.jobs.queues().await.unwrap();
        (queues[0].counts.dead == 30).then_some(())
    })
    .await;
    gateway.workers.shutdown().await;

    let listed = gateway.run(&["dead", "list"]).ok().stdout;
    assert_eq!(listed.lines().count(), 31);
    assert!(
        listed.contains("it is  [31mbad…\n"),
        "one line, plain, and shown to be cut: {listed}"
    );
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    gateway.run(&["dead", "requeue", id]).ok();
    assert_eq!(gateway.get(id)["status"], "queued");
    let answer = gateway.run(&["retry", id, "--json"]);
    assert_eq!(answer.code, Some(1));
    assert_eq!(answer.value()["error"]["status"], 409);

    let all = gateway
        .run(&["dead", "requeue", "--all", "--json"])
        .ok()
        .value();
    assert_eq!(all, json!({ "dead": 29, "requeued": 29 }));
    let queues = gateway.run(&["queues", "--json"]).ok().value();
    assert_eq!(
        (&queues[0]["queued"], &queues[0]["dead"]),
        (&json!(30), &json!(0))
    );
}

#[test]
fn a_gateway_that_is_not_there_is_told_with_what_to_do() {
    let [port] = testkit::ports::free();
    let mut command = meshctl(&["jobs", "queues"]);
    command.env("MESH_GATEWAY", format!("127.0.0.1:{port}"));
    let answer = run_command(command, "");
    assert_eq!(answer.code, Some(1));
    for text in [
        "no gateway answers at 127.0.0.1:",
        "mesh-gateway",
        "--gateway",
    ] {
        assert!(answer.stderr.contains(text), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_followed_job_by_job() {
    let mut gateway = Gateway::start(&[]).await;
    let id = gateway.submit("good", &[]);
    let mut command = meshctl(&["jobs", "watch", "--queue", "default", "--json"]);
    command.env("MESH_GATEWAY", gateway.address());
    let mut watch = testkit::Process::start("meshctl", command);
    gateway.work();
    let seen = |line: &str, job: &str, event: &str| {
        let told: Value = serde_json::from_str(line).ok()?;
        (told["job_id"] == *job && told["event"] == *event).then_some(())
    };
    let limit = Duration::from_secs(20);
    watch
        .wait_for_line(limit, |line| seen(line, &id, "queued"))
        .await;
    watch
        .wait_for_line(limit, |line| seen(line, &id, "succeeded"))
        .await;
    let later = gateway.submit("later", &[]);
    watch
        .wait_for_line(limit, |line| seen(line, &later, "succeeded"))
        .await;
    gateway.workers.shutdown().await;
}
