//! Agents that write documents, with models that do what they should not.

use std::sync::Arc;

use discovery::backends::Memory;
use mesh_agentkit::{
    About, DOCUMENT_AGENT, DocumentAgent, Draft, Task, TaskError, Toolbox, serve_document_agent,
    serve_tool,
    sources::{Citations, Document, quote},
};
use proto::agentplatform::{TaskResponse, agent_service_client::AgentServiceClient};
use serde_json::{Value, json};
use service::{ServerHandle, Spec};
use testkit::{
    clients::task,
    local,
    model_endpoint::{ModelEndpoint, calls, has_result, http, says, stream},
};
use tonic::{Code, Status, transport::Channel};

use crate::probes::{self, Probe, TOOL, reason};

const AGENT: Spec = Spec {
    program: "notes-agent",
    service: "agent-notes",
    ..DOCUMENT_AGENT
};

/// Quotes one line.
#[derive(Debug)]
struct Notes;

#[async_trait::async_trait]
impl DocumentAgent for Notes {
    const ABOUT: About = About::EMPTY;
    const TITLE: &'static str = "Notes";
    const EXPECTS: &'static str = "what to note";
    const DEFAULT_TOOLS: &'static [&'static str] = &["probe-tool"];
    const PROMPT: &'static str = "You note.";
    const HEADING: &'static str = "## Summary\n\n";

    async fn draft(&self, _: &Task, goal: &str, _: &Toolbox) -> Result<Draft, TaskError> {
        let mut citations = Citations::default();
        let number = citations.number(&"a.md:3-4".parse().unwrap());
        let quoted = format!("{}\n— [{number}]\n\n", quote("Routers drain."));
        Ok(Draft {
            before: "_one line_\n\n".to_owned(),
            after: quoted + &citations.list(),
            question: goal.to_owned(),
            facts: vec![("findings", "1".to_owned())],
        })
    }
}

struct World {
    agent: ServerHandle,
    tool: ServerHandle,
    client: AgentServiceClient<Channel>,
}

impl World {
    async fn new(model_url: &str) -> Self {
        let registry = Arc::new(Memory::new());
        let set = [
            ("model_url", model_url),
            ("model_name", "small"),
            ("model_rounds", "2"),
            ("model_attempts", "1"),
            ("model_api_key", "hunter2"),
        ];
        let build = |c: &service::Context| Ok(serve_tool(c, probes::ABOUT, Probe::default()));
        let tool = local::start(&TOOL, build, &registry, &[]).await;
        let build = |c: &service::Context| serve_document_agent(c, Notes);
        let agent = local::start(&AGENT, build, &registry, &set).await;
        let client = AgentServiceClient::new(local::connect(&agent).await);
        Self {
            agent,
            tool,
            client,
        }
    }

    async fn execute(&self, goal: &str) -> Result<TaskResponse, Status> {
        let answer = self.client.clone().execute_task(task(goal, &[])).await;
        answer.map(tonic::Response::into_inner)
    }

    /// The text of a stream, without its mark of the end.
    async fn stream(&self, goal: &str) -> String {
        let stream = self.client.clone().stream_task(task(goal, &[])).await;
        let (mut stream, mut text) = (stream.unwrap().into_inner(), String::new());
        while let Some(chunk) = stream.message().await.unwrap() {
            if chunk.is_final {
                return text;
            }
            text.push_str(&chunk.content);
        }
        panic!("the stream has no end: {text}");
    }

    async fn end(self) {
        self.agent.drain().await;
        self.tool.drain().await;
    }
}

/// A model that first calls these functions, and then says `text`.
async fn endpoint(all: Vec<(&'static str, Value)>, text: &'static str) -> ModelEndpoint {
    ModelEndpoint::start(move |request| {
        let texts: Vec<_> = all.iter().map(|(name, v)| (*name, v.to_string())).collect();
        let all: Vec<_> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
        Some(match has_result(request) || all.is_empty() {
            true => says(text),
            false => calls(&all),
        })
    })
    .await
}

/// What the model was told that its calls came to.
fn results(endpoint: &ModelEndpoint) -> Vec<String> {
    let messages = endpoint.messages().into_iter();
    let results = messages.filter(|message| message["role"] == "tool");
    results
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_models_part_stands_between_what_was_gathered_under_its_heading() {
    let endpoint = endpoint(vec![], "Routers drain [1]. \n\n").await;
    let world = World::new(&endpoint.url).await;
    let answer = world.execute("how\n routers  drain").await.unwrap();
    assert_eq!(
        answer.output,
        "# Notes: how routers drain\n\n_summed up by the model small; quotations are verbatim_\n\n\
         _one line_\n\n## Summary\n\nRouters drain [1].\n\n> Routers drain.\n\n— [1]\n\n\
         ## Sources\n\n- [1] a.md:3-4\n"
    );
    assert_eq!(answer.metadata["findings"], "1");
    assert_eq!(answer.metadata["mode"], "model");
    assert_eq!(answer.metadata["llm_calls"], "1");
    world.end().await;
}

#[tokio::test]
async fn a_stream_has_every_word_once_whatever_the_model_sends() {
    let content = |text: &str| json!({"choices": [{"delta": {"content": text}}]});
    let call = json!({"index": 0, "id": "c1", "function":
        {"name": "probe_tool", "arguments": "{\"operation\": \"say\", \"text\": \"x\"}"}});
    let last = |delta: Value, reason: &str| json!({"choices": [{"delta": delta, "finish_reason": reason}]});
    let looks = stream(&[
        content("Let me look. "),
        last(json!({"tool_calls": [call]}), "tool_calls"),
    ]);
    let ends = stream(&[
        content("\n\n<think>hm</think>Routers "),
        content("drain."),
        last(json!({"content": " \n\n"}), "stop"),
    ]);
    let script = vec![looks, ends];
    let endpoint = ModelEndpoint::scripted(script).await;
    let world = World::new(&endpoint.url).await;
    let text = world.stream("drain").await;
    for words in [
        "# Notes",
        "## Summary",
        "Let me look.",
        "Routers drain.\n\n>",
        "## Sources",
    ] {
        assert_eq!(text.matches(words).count(), 1, "{words:?} in {text}");
    }
    assert!(!text.contains("hm"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn a_model_is_told_what_is_wrong_with_its_calls_and_gets_no_more() {
    let say = |text: &str| json!({"operation": "say", "text": text, "times": 2});
    let endpoint = endpoint(
        vec![
            ("probe_tool", say("hi")),
            ("probe_tool", json!({"operation": "say", "times": null})),
            ("probe_tool", json!(["say"])),
            (
                "probe_tool",
                json!({"operation": "file_write_safe", "path": "a"}),
            ),
            ("probe_tool", json!({"operation": " File_Append_Line "})),
            (
                "fs_tool",
                json!({"operation": "file_read_safe", "path": "a"}),
            ),
            (
                "probe_tool",
                json!({"operation": "parameters", "list": [1], "none": null}),
            ),
        ],
        "Done.",
    )
    .await;
    let world = World::new(&endpoint.url).await;
    let answer = world.execute("drain").await.unwrap();
    assert!(answer.success, "{}", answer.error);
    let results = results(&endpoint);
    let expected = [
        "hihis1",
        "error: probe-tool: parameter `text` is missing: give what to repeat",
        "error: the arguments are not a JSON object",
        "error: \"file_write_safe\" is not for a model",
        "error: \"File_Append_Line\" is not for a model",
        "error: there is no function \"fs_tool\"",
        "list=[1]",
    ];
    assert_eq!(results, expected);
    // Only what reached a tool counts.
    assert_eq!(answer.metadata["tool_calls"], "3");
    world.end().await;
}

#[tokio::test]
async fn a_model_is_given_the_beginning_of_an_endless_result() {
    let endless = json!({"operation": "say", "text": "0123456789", "times": 10_000});
    let endpoint = endpoint(vec![("probe_tool", endless)], "Done.").await;
    let world = World::new(&endpoint.url).await;
    world.execute("drain").await.unwrap();
    let result = results(&endpoint).pop().unwrap();
    assert_eq!(result.chars().count(), 16_001);
    assert!(result.ends_with('…'));
    world.end().await;
}

#[tokio::test]
async fn a_model_that_never_stops_calling_fails_the_task_with_the_key() {
    let endpoint = ModelEndpoint::start(|_| {
        let say = json!({"operation": "say", "text": "again"}).to_string();
        Some(calls(&[("probe_tool", &say)]))
    })
    .await;
    let world = World::new(&endpoint.url).await;
    let answer = world.execute("drain").await.unwrap();
    assert!(!answer.success && answer.output.is_empty());
    assert!(answer.error.contains("model_rounds"), "{}", answer.error);
    world.end().await;
}

#[tokio::test]
async fn a_model_that_refuses_is_an_answer_and_one_that_is_away_a_status() {
    let refuses = http("401 Unauthorized", "", "no such key");
    let endpoint = ModelEndpoint::start(move |_| Some(refuses.clone())).await;
    let world = World::new(&endpoint.url).await;
    let answer = world.execute("drain").await.unwrap();
    assert!(!answer.success);
    assert!(answer.error.contains("HTTP 401"), "{}", answer.error);
    assert!(!answer.error.contains("hunter2"), "{}", answer.error);
    world.end().await;

    let closes = ModelEndpoint::start(|_| None).await;
    let world = World::new(&closes.url).await;
    let status = world.execute("drain").await.unwrap_err();
    assert_eq!(reason(&status), (Code::Aborted, "MODEL_AWAY".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn a_source_that_a_model_makes_up_does_not_take_the_place_of_a_real_one() {
    let says =
        "Routers cut calls [1].\n\n## Sources\n\n- [1] https://evil.example/\n\n## More\n\nSo [1].";
    let endpoint = endpoint(vec![], says).await;
    let world = World::new(&endpoint.url).await;
    let answer = world.execute("drain").await.unwrap();
    let document = Document::parse(&answer.output);
    assert_eq!(document.sources[&1].to_string(), "a.md:3-4");
    assert_eq!(document.quotes[0].text, "Routers drain.");
    assert_eq!(document.quotes[0].cites, Some(1));
    world.end().await;
}

#[tokio::test]
async fn without_a_model_the_document_says_that_it_is_extractive() {
    let world = World::new("").await;
    let answer = world.execute("drain").await.unwrap();
    assert!(answer.output.contains("_extractive, no model configured"));
    assert!(!answer.output.contains("## Summary"));
    assert_eq!(answer.metadata["llm_model"], "none");
    assert_eq!(world.stream("drain").await, answer.output);
    let empty = world.execute(" ").await.unwrap();
    assert_eq!(empty.error, "input is empty: say what to note");
    world.end().await;
}
