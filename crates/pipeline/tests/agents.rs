//! The real agents and tools over real sockets and real documents, with and without a model.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{fs, sync::Arc, time::Duration};

use discovery::backends::Memory;
use mesh_pipeline::{Report, Run};
use proto::agentplatform::{
    ListAgentsRequest, TaskRequest, TaskResponse, agent_service_client::AgentServiceClient,
};
use serde_json::{Value, json};
use service::{Context, ServerHandle, Services, Spec};
use tempfile::TempDir;
use testkit::local;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const GUIDE: &str = "# Running\n\n## Draining\n\nA router that is stopped finishes its calls. It \
    must leave\nthe registry first, and never cuts a call before `drain_timeout`.\n\n```toml\n\
    drain_timeout = \"15s\"\n```\n\n| key | meaning of a router's drain |\n|---|---|\n\
    | drain_delay | how long it serves on |\n\n## Cooking\n\nNothing of interest.\n";
const GOAL: &str = "how a router drains without zeppelins";

struct World {
    registry: Arc<Memory>,
    dir: TempDir,
    running: Vec<ServerHandle>,
}

type Build = fn(&Context) -> anyhow::Result<Services>;

impl World {
    /// The three tools and the three agents, these with the model at `model_url`.
    async fn new(model_url: &str) -> Self {
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

    async fn run(&self, goal: &str) -> Report {
        let run = Run {
            run_id: "run-7".to_owned(),
            goal: goal.to_owned(),
            deadline: None,
        };
        let mesh = self.running[0].context().mesh.clone();
        let cancel = CancellationToken::new();
        Box::pin(mesh_pipeline::run(&mesh, &run, &mut |_| {}, &cancel))
            .await
            .unwrap()
    }

    async fn ask(&self, service: &str, parameters: &[(&str, &str)]) -> TaskResponse {
        let channel = self.running[0].context().mesh.channel(service);
        let pairs = parameters
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let task = TaskRequest {
            task_id: "t1".to_owned(),
            session_id: "s1".to_owned(),
            input: GOAL.to_owned(),
            parameters: pairs.collect(),
            ..TaskRequest::default()
        };
        let answer = AgentServiceClient::new(channel).execute_task(task).await;
        answer.unwrap().into_inner()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("out/run-7").join(name)).unwrap()
    }

    async fn end(self) {
        for running in self.running {
            running.drain().await;
        }
    }
}

#[tokio::test]
async fn without_a_model_the_files_quote_the_documents_and_say_so() {
    let world = World::new("").await;
    let report = world.run(GOAL).await;
    let (notes, design, review) = (
        world.file("notes.md"),
        world.file("mcp.md"),
        world.file("review.md"),
    );
    for text in [&notes, &design, &review] {
        assert!(text.contains("extractive, no model configured"), "{text}");
    }
    assert!(
        notes.contains("> A router that is stopped finishes its calls. It must leave"),
        "{notes}"
    );
    assert!(notes.contains("guide/running.md:5-6"), "{notes}");
    assert!(notes.contains("no document mentions: zeppelin"), "{notes}");
    assert!(
        notes.contains("web search is off: set web_search_url"),
        "{notes}"
    );
    assert!(!notes.contains("Nothing of interest"), "{notes}");
    assert!(
        design.contains("> It must leave the registry first, and never cuts"),
        "{design}"
    );
    assert!(
        design.contains("```\ndrain_timeout = \"15s\"\n```"),
        "{design}"
    );
    assert!(design.contains("no source speaks of: zeppelin"), "{design}");
    assert!(review.contains("0 errors"), "{review}");
    assert!(review.contains("zeppelin"), "{review}");
    assert_eq!(
        (&*report.metrics.mode, &*report.metrics.llm_model),
        ("extractive", "none")
    );
    assert_eq!(report.metrics.tokens_used, 0);
    assert!(report.metrics.tool_calls >= 6, "{:?}", report.metrics);
    world.end().await;
}

#[tokio::test]
async fn the_review_finds_what_the_sources_do_not_say() {
    let world = World::new("").await;
    let notes = "# Notes: x\n\n> A router that is stopped cuts its calls.\n\n— [1]\n\n\
        > It must leave the registry first\n\n— [1]\n\n> From nowhere.\n\n— [9]\n\n\
        Routers are always painted in blue.\n\n## Sources\n\n- [1] guide/running.md:5-6\n\
        - [2] ../secret.md:1\n\n";
    let answer = world
        .ask(
            "agent-review",
            &[("notes", notes), ("design", "# Design\n")],
        )
        .await;
    assert!(answer.success, "{}", answer.error);
    assert_eq!((&*answer.task_id, &*answer.session_id), ("t1", "s1"));
    assert_eq!(answer.metadata["errors"], "2", "{}", answer.output);
    for expected in [
        "does not pass",
        "| error | notes.md:3 | does not stand in guide/running.md:5-6",
        "| error | notes.md:11 | cites [9], which is not among its sources |",
        "| warning | notes.md:15 | says something without a source: Routers are always",
        "| warning | mcp.md | does not speak of the goal's: router, drain, zeppelin |",
        "1 of 2 quotations",
    ] {
        assert!(
            answer.output.contains(expected),
            "{expected} is not in {}",
            answer.output
        );
    }
    let without = world.ask("agent-review", &[]).await;
    assert!(
        !without.success && without.error.contains("there is no notes"),
        "{}",
        without.error
    );
    world.end().await;
}

#[tokio::test]
async fn each_agent_lists_itself_and_streams_its_output() {
    let world = World::new("").await;
    let mesh = &world.running[0].context().mesh;
    for (service, id) in [
        ("agent-research", "research-agent"),
        ("agent-code", "code-agent"),
        ("agent-review", "review-agent"),
    ] {
        let mut client = AgentServiceClient::new(mesh.channel(service));
        let listed = client
            .list_agents(ListAgentsRequest::default())
            .await
            .unwrap();
        let agents = listed.into_inner().agents;
        assert_eq!(agents[0].agent_id, id);
        assert!(!agents[0].capabilities.is_empty());
    }
    let whole = world.ask("agent-research", &[]).await.output;
    let mut client = AgentServiceClient::new(mesh.channel("agent-research"));
    let task = TaskRequest {
        input: GOAL.to_owned(),
        ..TaskRequest::default()
    };
    let mut stream = client.stream_task(task).await.unwrap().into_inner();
    let (mut text, mut last) = (String::new(), None);
    while let Some(chunk) = stream.message().await.unwrap() {
        if !chunk.is_final {
            text.push_str(&chunk.content);
        }
        last = Some(chunk);
    }
    assert_eq!(text, whole);
    let last = last.unwrap();
    assert!(last.is_final && last.content == "[COMPLETE]");
    world.end().await;
}

type Asked = Arc<parking_lot::Mutex<Vec<Value>>>;

/// A model that looks something up by the first tool it is offered when it has not yet, and then
/// says what it found; keeps what it was asked.
async fn model(tasks: &mut JoinSet<()>, asked: Asked) -> String {
    endpoint(tasks, asked, |looked_up| {
        if looked_up {
            return says("Routers finish their calls [1].");
        }
        let arguments = json!({"operation": "search_local_docs", "query": "cooking"});
        calls(&[("docs_tool", arguments)])
    })
    .await
}

fn says(text: &str) -> String {
    let events = [
        json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}),
    ];
    ok(&events)
}

/// Calls of functions, all at once.
fn calls(all: &[(&str, Value)]) -> String {
    let calls = all.iter().enumerate().map(|(index, (name, arguments))| {
        let function = json!({"name": name, "arguments": arguments.to_string()});
        json!({"index": index, "id": format!("c{index}"), "function": function})
    });
    let delta = json!({"tool_calls": calls.collect::<Vec<_>>()});
    let events = [
        json!({"choices": [{"delta": delta, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}),
    ];
    ok(&events)
}

fn ok(events: &[Value]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
         {events}data: [DONE]\n\n"
    )
}

/// An endpoint that answers by whether something was looked up already.
async fn endpoint(
    tasks: &mut JoinSet<()>,
    asked: Asked,
    answer: impl Fn(bool) -> String + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let request: Value = serde_json::from_slice(&body).unwrap();
            let messages = request["messages"].as_array().unwrap();
            let looked_up = messages.iter().any(|message| message["role"] == "tool");
            let answer = answer(looked_up);
            asked.lock().push(request.clone());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn with_a_model_its_words_stand_before_the_quotations_and_tokens_are_counted() {
    let (mut tasks, asked) = (JoinSet::new(), Arc::default());
    let url = model(&mut tasks, Arc::clone(&asked)).await;
    let world = World::new(&url).await;
    let report = tokio::time::timeout(Duration::from_secs(60), world.run(GOAL))
        .await
        .unwrap();
    let (notes, review) = (world.file("notes.md"), world.file("review.md"));
    assert!(notes.contains("Routers finish their calls [1]."), "{notes}");
    assert!(notes.contains("> A router that is stopped"), "{notes}");
    assert!(notes.contains("model small"), "{notes}");
    assert!(
        review.contains("## Remarks") && review.contains("0 errors"),
        "{review}"
    );
    assert_eq!(
        (&*report.metrics.mode, &*report.metrics.llm_model),
        ("model", "small")
    );
    assert_eq!(
        (report.metrics.llm_calls, report.metrics.cache_hits),
        (6, 0)
    );
    assert_eq!(
        (report.metrics.tokens_used, report.metrics.completion_tokens),
        (660, 60)
    );
    let result = asked
        .lock()
        .iter()
        .flat_map(|request| request["messages"].as_array().unwrap().clone())
        .find(|message| message["role"] == "tool")
        .unwrap();
    assert!(
        result["content"]
            .as_str()
            .unwrap()
            .contains("Nothing of interest"),
        "{result}"
    );

    // The same task again costs nothing.
    let answers = asked.lock().len();
    world.ask("agent-research", &[]).await;
    let again = world.ask("agent-research", &[]).await;
    assert_eq!(again.metadata["cache_hit"], "true", "{:?}", again.metadata);
    assert!(asked.lock().len() <= answers + 2);
    world.end().await;
}

#[tokio::test]
async fn a_model_that_obeys_a_document_writes_none_of_the_runs_files() {
    let (mut tasks, asked) = (JoinSet::new(), Asked::default());
    let writes = |operation: &str, path: &str| {
        let arguments = json!({"operation": operation, "path": path, "content": "PWNED"});
        ("fs_tool", arguments)
    };
    let orders = [
        writes("file_write_safe", "notes.md"),
        writes("file_write_safe", "NOTES.md"),
        writes("file_write_safe", "review.md"),
        writes("file_write_safe", "mcp.md"),
        writes("file_write_safe", "blackboard.json"),
        writes("file_append_line", "blackboard.jsonl"),
        writes(" file_write_safe ", "drafts/one.md"),
        writes("File_Write_Safe", "two.md"),
        writes("file_read_safe", "notes.md"),
    ];
    let url = endpoint(
        &mut tasks,
        Arc::clone(&asked),
        move |looked_up| match looked_up {
            true => says("Routers finish their calls [1]."),
            false => calls(&orders),
        },
    )
    .await;
    let world = World::new(&url).await;
    world.run(GOAL).await;
    let run = world.dir.path().join("out/run-7");
    let mut names: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // Where the tool takes its turns is no file of the run.
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let expected = [
        "blackboard.json",
        "blackboard.jsonl",
        "mcp.md",
        "notes.md",
        "review.md",
    ];
    assert_eq!(names, expected);
    for name in names {
        assert!(!world.file(&name).contains("PWNED"), "{name}");
    }
    {
        let asked = asked.lock();
        let tools = asked
            .iter()
            .flat_map(|request| request["tools"].as_array().unwrap());
        for tool in tools {
            assert!(!tool.to_string().contains("write"), "{tool}");
        }
        let results = asked
            .iter()
            .flat_map(|request| request["messages"].as_array().unwrap());
        let read = results
            .filter(|message| message["role"] == "tool")
            .any(|message| {
                message["content"]
                    .as_str()
                    .unwrap()
                    .contains("# Notes: how a router drains")
            });
        assert!(read, "the notes can be read");
    }
    world.end().await;
}

#[tokio::test]
async fn a_request_is_sent_as_often_as_model_attempts_says_whoever_retries_around_it() {
    let (mut tasks, asked) = (JoinSet::new(), Asked::default());
    let url = endpoint(&mut tasks, Arc::clone(&asked), |_| {
        "HTTP/1.1 500 Oh\r\nretry-after: 0\r\nconnection: close\r\n\r\nbroke".to_owned()
    })
    .await;
    let world = World::new(&url).await;
    let mesh = &world.running[0].context().mesh;
    let task = TaskRequest {
        input: GOAL.to_owned(),
        ..TaskRequest::default()
    };
    let mut client = AgentServiceClient::new(mesh.channel("agent-research"));
    let status = client.execute_task(task.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted, "{status}");
    assert_eq!(asked.lock().len(), 4);

    let mut stream = client.stream_task(task).await.unwrap().into_inner();
    while let Ok(Some(_)) = stream.message().await {}
    assert_eq!(asked.lock().len(), 8);

    let run = Run {
        run_id: "run-7".to_owned(),
        goal: GOAL.to_owned(),
        deadline: None,
    };
    let cancel = CancellationToken::new();
    let failed = Box::pin(mesh_pipeline::run(mesh, &run, &mut |_| {}, &cancel)).await;
    let error = failed.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("HTTP 500"),
        "{error}"
    );
    assert_eq!(asked.lock().len(), 12);
    world.end().await;
}

#[tokio::test]
async fn how_long_a_model_wants_quiet_is_told_to_whoever_tries_again() {
    let (mut tasks, asked) = (JoinSet::new(), Asked::default());
    let url = endpoint(&mut tasks, Arc::clone(&asked), |_| {
        "HTTP/1.1 429 Slow\r\nretry-after: 600\r\nconnection: close\r\n\r\nlater".to_owned()
    })
    .await;
    let world = World::new(&url).await;
    let mesh = &world.running[0].context().mesh;
    let cancel = CancellationToken::new();
    for run_id in ["run-1", "run-2"] {
        let run = Run {
            run_id: run_id.to_owned(),
            goal: GOAL.to_owned(),
            deadline: None,
        };
        let failed = Box::pin(mesh_pipeline::run(mesh, &run, &mut |_| {}, &cancel)).await;
        let error = failed.unwrap_err();
        let after = error.retry_after().unwrap();
        assert!(after > Duration::from_secs(590), "{after:?}: {error}");
        assert!(after < Duration::from_secs(700), "{after:?}: {error}");
    }
    // The second run was told without a request.
    assert_eq!(asked.lock().len(), 1);
    world.end().await;
}
