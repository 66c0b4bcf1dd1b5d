//! A run over real sockets: the real fs tool, a registry in memory, and agents that count.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use agentkit::{About, Agent, OutputStream, Task, TaskError, TaskOutcome};
use discovery::backends::Memory;
use mesh_pipeline::{Error, Progress, Report, Run};
use serde_json::Value;
use service::{Context, ServerHandle, ServiceKind, Services, Spec};
use tempfile::TempDir;
use testkit::local;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

const ABOUT: About = About {
    name: "counts",
    description: "counts",
    ..About::EMPTY
};

/// An agent that tells how often it was asked, and may hang.
#[derive(Clone, Debug, Default)]
struct Counts {
    asked: Arc<AtomicUsize>,
    hangs: Arc<std::sync::atomic::AtomicBool>,
    entered: Arc<Notify>,
}

#[async_trait::async_trait]
impl Agent for Counts {
    async fn run(&self, task: &Task, _stream: &OutputStream) -> Result<TaskOutcome, TaskError> {
        let number = self.asked.fetch_add(1, SeqCst) + 1;
        self.entered.notify_one();
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if task.goal == "refuse" {
            return Err(TaskError::Invalid("will not".to_owned()));
        }
        let output = format!("{} for {}, time {number}\n", task.id, task.goal);
        let facts = [
            ("tool_calls", "2"),
            ("tokens_used", "10"),
            ("mode", "extractive"),
        ];
        Ok(TaskOutcome {
            output,
            metadata: BTreeMap::from(facts.map(|(k, v)| (k, v.to_owned()))),
        })
    }
}

struct World {
    registry: Arc<Memory>,
    out: TempDir,
    agents: [Counts; 3],
    running: Vec<ServerHandle>,
}

fn spec(name: &'static str) -> Spec {
    Spec {
        program: name,
        service: name,
        kind: ServiceKind::Agent,
        tags: &["agent"],
        ..fs_tool::SPEC
    }
}

impl World {
    async fn new() -> Self {
        let mut world = Self {
            registry: Arc::new(Memory::new()),
            out: TempDir::new().unwrap(),
            agents: Default::default(),
            running: Vec::new(),
        };
        world.start(fs_tool::SPEC, fs_tool::build).await;
        for (index, name) in ["agent-research", "agent-code", "agent-review"]
            .into_iter()
            .enumerate()
        {
            let agent = world.agents[index].clone();
            world
                .start(spec(name), move |c| {
                    Ok(agentkit::serve_agent(c, ABOUT, agent))
                })
                .await;
        }
        world
    }

    async fn start(
        &mut self,
        spec: Spec,
        build: impl FnOnce(&Context) -> anyhow::Result<Services>,
    ) {
        let set = [("out_dir", self.out.path().to_str().unwrap())];
        let running = local::start(&spec, build, &self.registry, &set).await;
        self.running.push(running);
    }

    /// Any of them calls as the runner does.
    async fn run(
        &self,
        goal: &str,
        cancel: &CancellationToken,
    ) -> (Result<Report, Error>, Vec<Progress>) {
        let run = Run {
            run_id: "run-1".to_owned(),
            goal: goal.to_owned(),
            deadline: Some(Instant::now() + Duration::from_secs(60)),
        };
        let mut told = Vec::new();
        let mesh = self.running[0].context().mesh.clone();
        let report = mesh_pipeline::run(&mesh, &run, &mut |p| told.push(p), cancel).await;
        (report, told)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join("run-1").join(name)).unwrap()
    }

    fn asked(&self) -> [usize; 3] {
        self.agents.each_ref().map(|agent| agent.asked.load(SeqCst))
    }

    async fn end(self) {
        for running in self.running {
            running.drain().await;
        }
    }
}

#[tokio::test]
async fn a_run_leaves_its_files_and_a_second_call_repeats_nothing() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let (report, told) = world.run("a goal", &cancel).await;
    let report = report.unwrap();
    let percents: Vec<_> = told.iter().map(|p| (p.percent, p.step)).collect();
    assert_eq!(
        percents,
        [
            (0, "research"),
            (33, "code"),
            (66, "review"),
            (100, "review")
        ]
    );
    assert_eq!(
        world.file("notes.md"),
        "run-1-research for a goal, time 1\n"
    );
    assert_eq!(world.file("mcp.md"), "run-1-code for a goal, time 1\n");
    assert_eq!(world.file("review.md"), "run-1-review for a goal, time 1\n");
    assert_eq!(report.artifacts[0], "run-1/notes.md");
    assert_eq!(
        (report.metrics.tool_calls, report.metrics.tokens_used),
        (6, 30)
    );
    let snapshot: Value = serde_json::from_str(&world.file("blackboard.json")).unwrap();
    assert_eq!(snapshot["status"], "finished");
    assert_eq!(snapshot["metrics"]["tokens_used"], 30);
    assert!(
        snapshot["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "finished")
    );
    let log = world.file("blackboard.jsonl");
    assert_eq!(log.lines().count(), 8);

    let (again, _) = world.run("a goal", &cancel).await;
    let again = again.unwrap();
    assert!(again.steps.iter().all(|step| step.resumed));
    assert_eq!(again.metrics, report.metrics);
    assert_eq!(world.asked(), [1, 1, 1]);
    assert_eq!(world.file("blackboard.jsonl"), log);
    world.end().await;
}

#[tokio::test]
async fn a_run_that_is_killed_goes_on_where_it_was() {
    let world = World::new().await;
    let code = &world.agents[1];
    code.hangs.store(true, SeqCst);
    let cancel = CancellationToken::new();
    // Dropped in the middle of the second step: nothing of it gets to tidy up.
    tokio::select! {
        (report, _) = world.run("a goal", &cancel) => panic!("{report:?}"),
        () = code.entered.notified() => {}
    }
    // And the log's last line is cut short, as by a crash in its middle.
    let path = world.out.path().join("run-1/blackboard.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{log}{{\"seq\":9,\"at\":\"20")).unwrap();
    code.hangs.store(false, SeqCst);
    let (report, told) = world.run("a goal", &cancel).await;
    let report = report.unwrap();
    assert_eq!(world.asked(), [1, 2, 1]);
    assert_eq!(
        report.steps.iter().map(|s| s.resumed).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert_eq!(told.last().unwrap().percent, 100);
    assert_eq!(report.metrics.tokens_used, 30);

    // An artifact that was tampered with, or lost, is made again, and no other.
    fs::remove_file(world.out.path().join("run-1/review.md")).unwrap();
    world.run("a goal", &cancel).await.0.unwrap();
    assert_eq!(world.asked(), [1, 2, 2]);
    world.end().await;
}

#[tokio::test]
async fn entries_have_numbers_of_their_own_though_two_attempts_write_at_once() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    // As after a lease that ended while its worker went on.
    let attempt = || world.run("a goal", &cancel);
    let (one, two, three) = tokio::join!(attempt(), attempt(), attempt());
    for (report, _) in [one, two, three] {
        report.unwrap();
    }
    let log = world.file("blackboard.jsonl");
    let entries = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let entries: Vec<Value> = entries.collect();
    let numbers = entries.iter().map(|entry| entry["seq"].as_u64().unwrap());
    let count = entries.len() as u64;
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
    let writers = entries
        .iter()
        .map(|entry| entry["attempt"].as_str().unwrap());
    let writers: std::collections::BTreeSet<&str> = writers.collect();
    assert_eq!(writers.len(), 3, "each attempt is told from the others");
    world.end().await;
}

#[tokio::test]
async fn of_two_runs_that_take_one_id_at_once_one_goes_on() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let (one, other) = tokio::join!(world.run("one", &cancel), world.run("other", &cancel));
    let (done, refused) = match (one.0, other.0) {
        (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let asked = format!("run-1-research for {}, time 1\n", done.goal);
    assert_eq!(world.file("notes.md"), asked);
    world.end().await;
}

#[tokio::test]
async fn a_run_ends_early_for_a_reason_that_says_whether_to_try_again() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let refused = world.run("refuse", &cancel).await.0.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
    assert!(refused.to_string().contains("will not"), "{refused}");
    assert!(world.file("blackboard.jsonl").contains("step_failed"));
    let conflict = world.run("another goal", &cancel).await.0.unwrap_err();
    assert!(matches!(conflict, Error::Conflict { .. }), "{conflict}");
    let empty = world.run("  ", &cancel).await.0.unwrap_err();
    assert!(matches!(empty, Error::Invalid(_)), "{empty}");
    cancel.cancel();
    let cancelled = world.run("refuse", &cancel).await.0.unwrap_err();
    assert!(matches!(cancelled, Error::Cancelled { .. }), "{cancelled}");
    let outside = Run {
        run_id: "../run".to_owned(),
        goal: "a goal".to_owned(),
        deadline: None,
    };
    let mesh = world.running[0].context().mesh.clone();
    let outside = mesh_pipeline::run(&mesh, &outside, &mut |_| {}, &CancellationToken::new()).await;
    assert!(matches!(outside, Err(Error::Invalid(_))), "{outside:?}");
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_is_away_is_a_reason_to_try_again() {
    let mut world = World::new().await;
    let code = world.running.remove(2);
    code.drain().await;
    let (report, _) = world.run("a goal", &CancellationToken::new()).await;
    let error = report.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { step: "code", .. }),
        "{error}"
    );
    assert!(error.is_retryable());
    world.end().await;
}

#[tokio::test]
async fn a_run_of_many_attempts_at_a_long_goal_does_not_fill_its_log() {
    let world = World::new().await;
    let (goal, cancel) = ("\"".repeat(64 * 1024), CancellationToken::new());
    let code = &world.agents[1];
    code.hangs.store(true, SeqCst);
    for _ in 0..6 {
        tokio::select! {
            (report, _) = world.run(&goal, &cancel) => panic!("{report:?}"),
            () = code.entered.notified() => {}
        }
    }
    code.hangs.store(false, SeqCst);
    world.run(&goal, &cancel).await.0.unwrap();
    let log = world.file("blackboard.jsonl");
    assert!(log.len() < 200 * 1024, "{} bytes", log.len());
    assert_eq!(log.matches("run_started").count(), 1);
    assert_eq!(log.matches("run_resumed").count(), 6);
    world.end().await;
}

#[tokio::test]
async fn a_goal_whose_record_would_fill_the_log_is_refused_before_anything_is_written() {
    let world = World::new().await;
    let goal = format!("a{}b", "\u{1}".repeat(40 * 1024));
    let error = world
        .run(&goal, &CancellationToken::new())
        .await
        .0
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(error.to_string().contains("control characters"), "{error}");
    assert!(!world.out.path().join("run-1").exists());
    world.end().await;
}
