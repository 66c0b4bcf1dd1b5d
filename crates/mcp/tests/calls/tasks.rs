//! Calls that run as jobs.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use jobs::Producer;
use mesh_mcp::{CallContext, CallOutcome, MeshTool, TaskView, Tasks, ToolCaller, ToolKeys};
use serde_json::{Map, Value, json};
use service::ServerHandle;
use testkit::local;

use super::{Reports, call, call_with, client, echo_tool, text, view};

/// An echo agent, a queue on the disk, and a runner.
struct World {
    echo: ServerHandle,
    runner: ServerHandle,
    caller: ToolCaller,
    tasks: Tasks,
    jobs: jobs::Jobs,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(delay: &str, keys: ToolKeys) -> Self {
        let registry = Arc::new(Memory::new());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let queue = [("jobs_path", path.as_str()), ("jobs_sync", "never")];
        let echo = [("delay", delay)];
        let echo = local::start(&echo_agent::SPEC, echo_agent::build, &registry, &echo).await;
        let runner = local::start(&job_runner::SPEC, job_runner::build, &registry, &queue).await;
        let loader = config::Loader::new(work::QueueKeys::KEYS.to_vec());
        let loader = queue
            .iter()
            .fold(loader, |loader, (key, value)| loader.set(key, *value));
        let jobs = work::open(&loader.load().unwrap()).unwrap();
        let tasks = Tasks::new(jobs.clone(), Producer::new(jobs.clone()), "default", &keys);
        let caller = ToolCaller::new(client(&registry), Some(tasks.clone()), &keys);
        testkit::until("the queue is served", Duration::from_secs(10), async || {
            (jobs.is_served("default").await == Some(true)).then_some(())
        })
        .await;
        Self {
            echo,
            runner,
            caller,
            tasks,
            jobs,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.runner.drain().await;
        self.echo.drain().await;
    }

    async fn ended(&self, id: &str, caller: Option<&str>) -> TaskView {
        testkit::until("the task has ended", Duration::from_secs(10), async || {
            let view = self.tasks.get(id, caller).await.unwrap();
            (view.status != "working").then_some(view)
        })
        .await
    }
}

fn long_tool() -> MeshTool {
    let mut tool = echo_tool();
    tool.is_task = true;
    tool
}

fn tasks_context() -> CallContext {
    CallContext {
        takes_tasks: true,
        caller: Some("ann".into()),
        ..CallContext::default()
    }
}

fn keys(after: Duration, wait: Duration) -> ToolKeys {
    ToolKeys {
        mcp_task_after: after,
        mcp_wait: wait,
        ..ToolKeys::default()
    }
}

async fn start(world: &World, context: &CallContext) -> TaskView {
    let arguments = json!({"input": "hello"}).as_object().unwrap().clone();
    let outcome = world
        .caller
        .call(&long_tool(), arguments, context, &mut ())
        .await
        .unwrap();
    match outcome {
        CallOutcome::Task(task) => task,
        CallOutcome::Result(result) => panic!("{}", text(&result)),
    }
}

#[tokio::test]
async fn a_call_that_is_done_in_time_has_its_plain_result() {
    let world = World::start("0s", keys(Duration::from_secs(10), Duration::from_secs(10))).await;
    for context in [CallContext::default(), tasks_context()] {
        let result = call_with(
            &world.caller,
            &long_tool(),
            json!({"input": "hello"}),
            &context,
        )
        .await;
        let json = view(&result.unwrap());
        assert_eq!(json["content"][0]["text"], "Echo Agent Response: hello");
        assert_eq!(
            json["structuredContent"]["output"],
            "Echo Agent Response: hello"
        );
        assert_eq!(json["isError"], false);
    }
    let counts = world.jobs.queues().await.unwrap();
    assert_eq!(counts[0].counts.succeeded, 2, "they ran as jobs");
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_longer_becomes_a_task_of_its_caller() {
    let world = World::start(
        "1s",
        keys(Duration::from_millis(100), Duration::from_secs(10)),
    )
    .await;
    let task = start(&world, &tasks_context()).await;
    let json: Value = serde_json::from_str(&task.to_json(true)).unwrap();
    assert_eq!(
        (&json["resultType"], &json["status"]),
        (&json!("task"), &json!("working"))
    );
    assert_eq!(json["ttlMs"], 24 * 60 * 60 * 1000);
    assert_eq!(json["pollIntervalMs"], 1000);
    assert!(json["createdAt"].as_str().unwrap().ends_with('Z'));
    for stranger in [None, Some("bob")] {
        assert_eq!(
            world
                .tasks
                .get(&task.task_id, stranger)
                .await
                .unwrap_err()
                .code,
            -32602
        );
        assert_eq!(
            world
                .tasks
                .cancel(&task.task_id, stranger)
                .await
                .unwrap_err()
                .code,
            -32602
        );
    }
    world
        .tasks
        .update(&task.task_id, Some("ann"))
        .await
        .unwrap();
    let ended = world.ended(&task.task_id, Some("ann")).await;
    let json: Value = serde_json::from_str(&ended.to_json(false)).unwrap();
    assert_eq!(
        (&json["resultType"], &json["status"]),
        (&json!("complete"), &json!("completed"))
    );
    assert_eq!(
        json["result"]["content"][0]["text"],
        "Echo Agent Response: hello"
    );
    assert_eq!(json["result"]["resultType"], "complete");
    assert_eq!(
        json["result"]["_meta"]["mesh.v1/instance"],
        world.echo.instance_id
    );
    world.stop().await;
}

#[tokio::test]
async fn a_task_is_cancelled() {
    let world = World::start("30s", keys(Duration::ZERO, Duration::from_secs(10))).await;
    let task = start(&world, &tasks_context()).await;
    world
        .tasks
        .cancel(&task.task_id, Some("ann"))
        .await
        .unwrap();
    let ended = world.ended(&task.task_id, Some("ann")).await;
    assert_eq!((ended.status, ended.result.is_none()), ("cancelled", true));
    world.stop().await;
}

#[tokio::test]
async fn who_knows_no_tasks_gets_a_result_that_names_the_job() {
    let world = World::start(
        "1s",
        keys(Duration::from_secs(10), Duration::from_millis(200)),
    )
    .await;
    let result = call(&world.caller, &long_tool(), json!({"input": "hello"}))
        .await
        .unwrap();
    let json = view(&result);
    let job = json["_meta"]["mesh.v1/job"].as_str().unwrap().to_owned();
    assert!(
        !result.is_error
            && text(&result).contains(&format!("get_result with {{\"job_id\": \"{job}\"}}"))
    );
    let schema = long_tool().output_schema().unwrap();
    assert!(
        jsonschema::is_valid(&schema, &json["structuredContent"]),
        "{json}"
    );
    let arguments: Map<String, Value> = json!({ "job_id": job }).as_object().unwrap().clone();
    let stranger = world
        .tasks
        .get_result(&arguments, Some("bob"), &mut ())
        .await;
    assert!(stranger.is_error && text(&stranger).starts_with("NOT_FOUND: "));
    let done = testkit::until("the result is there", Duration::from_secs(10), async || {
        let result = world.tasks.get_result(&arguments, None, &mut ()).await;
        text(&result).starts_with("Echo Agent").then_some(result)
    })
    .await;
    assert_eq!(
        view(&done)["structuredContent"]["output"],
        "Echo Agent Response: hello"
    );
    let again = world.tasks.cancel_result(&arguments, None).await;
    assert!(
        text(&again).contains("has ended before"),
        "{}",
        text(&again)
    );
    for wrong in [json!({}), json!({"job_id": "x"}), json!({"job_id": 7})] {
        let wrong = wrong.as_object().unwrap();
        assert!(world.tasks.get_result(wrong, None, &mut ()).await.is_error);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_under_a_key_runs_once() {
    let world = World::start("0s", keys(Duration::from_secs(10), Duration::from_secs(10))).await;
    let keyed = |caller: &str| CallContext {
        idempotency_key: Some("order-17".to_owned()),
        caller: Some(caller.into()),
        ..CallContext::default()
    };
    let mut numbers = Vec::new();
    for caller in ["ann", "ann", "bob"] {
        let result = call_with(
            &world.caller,
            &echo_tool(),
            json!({"input": "x"}),
            &keyed(caller),
        )
        .await;
        let json = view(&result.unwrap());
        numbers.push(
            json["structuredContent"]["metadata"]["task_number"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(numbers, ["1", "1", "2"], "a key is its caller's own");
    let other = call_with(
        &world.caller,
        &echo_tool(),
        json!({"input": "y"}),
        &keyed("ann"),
    )
    .await;
    assert_eq!(other.unwrap_err().code, -32602);
    for key in [
        String::new(),
        "k".repeat(257),
        "a\nb".to_owned(),
        "ä".to_owned(),
    ] {
        let context = CallContext {
            idempotency_key: Some(key),
            ..CallContext::default()
        };
        let refused = call_with(&world.caller, &echo_tool(), json!({"input": "x"}), &context).await;
        assert_eq!(refused.unwrap_err().code, -32602);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_fails_or_is_dropped_does_not_stay() {
    let world = World::start(
        "30s",
        keys(Duration::from_secs(10), Duration::from_secs(10)),
    )
    .await;
    let context = CallContext {
        timeout: Some(Duration::from_millis(300)),
        ..CallContext::default()
    };
    let late = call_with(&world.caller, &long_tool(), json!({"input": "x"}), &context)
        .await
        .unwrap();
    assert!(late.is_error, "{}", text(&late));
    let tool = long_tool();
    let pending = call(&world.caller, &tool, json!({"input": "x"}));
    assert!(
        tokio::time::timeout(Duration::from_millis(500), pending)
            .await
            .is_err()
    );
    testkit::until(
        "the job is cancelled",
        Duration::from_secs(10),
        async || {
            let counts = world.jobs.queues().await.ok()?;
            (counts[0].counts.cancelled == 1).then_some(())
        },
    )
    .await;
    world.stop().await;
}

#[tokio::test]
async fn without_a_runner_the_service_is_called_directly() {
    let world = World::start("0s", keys(Duration::from_secs(10), Duration::from_secs(10))).await;
    let registry = Arc::new(Memory::new());
    let set = [("delay", "0s")];
    let echo = local::start(&echo_agent::SPEC, echo_agent::build, &registry, &set).await;
    let keys = ToolKeys::default();
    let jobs = world.jobs.clone();
    let nobody = Tasks::new(jobs.clone(), Producer::new(jobs), "nobody", &keys);
    let caller = ToolCaller::new(client(&registry), Some(nobody), &keys);
    let mut reports = Reports::default();
    let arguments = json!({"input": "x"}).as_object().unwrap().clone();
    let outcome = caller
        .call(&long_tool(), arguments, &tasks_context(), &mut reports)
        .await
        .unwrap();
    let CallOutcome::Result(result) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(text(&result), "Echo Agent Response: x");
    echo.drain().await;
    world.stop().await;
}

#[tokio::test]
async fn a_job_ends_at_its_time_and_a_method_that_is_gone_fails_its_task() {
    let short = ToolKeys {
        mcp_task_timeout: Duration::from_millis(300),
        ..keys(Duration::ZERO, Duration::from_secs(10))
    };
    let world = World::start("30s", short).await;
    let task = start(&world, &tasks_context()).await;
    let ended = world.ended(&task.task_id, Some("ann")).await;
    let json: Value = serde_json::from_str(&ended.to_json(false)).unwrap();
    assert_eq!(json["status"], "completed", "{json}");
    assert_eq!(json["result"]["isError"], true);
    let target = mesh_mcp::ToolTarget::Worker {
        parameters: Arc::default(),
    };
    let mut gone = super::tool("agent-echo", "echo-agent", target);
    gone.is_task = true;
    let (arguments, context) = (Map::new(), tasks_context());
    let outcome = world
        .caller
        .call(&gone, arguments, &context, &mut ())
        .await
        .unwrap();
    let CallOutcome::Task(task) = outcome else {
        panic!("{outcome:?}")
    };
    let ended = world.ended(&task.task_id, Some("ann")).await;
    let json: Value = serde_json::from_str(&ended.to_json(false)).unwrap();
    assert_eq!(
        (&json["status"], &json["error"]["code"]),
        (&json!("failed"), &json!(-32602))
    );
    assert_eq!(json.get("result"), None);
    world.stop().await;
}
