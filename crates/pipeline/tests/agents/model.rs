//! With a model: its words beside the quotations, what it may call, and its failures.

use std::{fs, time::Duration};

use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use serde_json::json;
use testkit::model_endpoint::{
    CALLS_TOKENS, ModelEndpoint, SAYS_TOKENS, calls, has_result, http, says,
};

use crate::world::{GOAL, World};

/// A model that looks something up when it has not yet, and then says what it found.
async fn endpoint(lookups: Vec<(&'static str, String)>) -> ModelEndpoint {
    ModelEndpoint::start(move |request| {
        Some(match has_result(request) {
            true => says("Routers finish their calls [1]."),
            false => {
                let lookups = lookups.iter().map(|(name, text)| (*name, text.as_str()));
                calls(&lookups.collect::<Vec<_>>())
            }
        })
    })
    .await
}

#[tokio::test]
async fn with_a_model_its_words_stand_before_the_quotations_and_tokens_are_counted() {
    let arguments = json!({"operation": "search_local_docs", "query": "cooking"});
    let endpoint = endpoint(vec![("docs_tool", arguments.to_string())]).await;
    let world = World::new(&endpoint.url).await;
    let report = tokio::time::timeout(Duration::from_secs(60), world.run())
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
    // Each of three agents calls a tool once and then answers.
    let written = 3 * (CALLS_TOKENS.1 + SAYS_TOKENS.1);
    let sent = 3 * (CALLS_TOKENS.0 + SAYS_TOKENS.0);
    assert_eq!(
        (report.metrics.tokens_used, report.metrics.completion_tokens),
        (sent + written, written)
    );
    let messages = endpoint.messages();
    let result = messages.iter().find(|message| message["role"] == "tool");
    let result = result.unwrap()["content"].as_str().unwrap();
    assert!(result.contains("Nothing of interest"), "{result}");

    // The same task again costs nothing.
    let answers = endpoint.count();
    world.ask("agent-research", &[]).await;
    let again = world.ask("agent-research", &[]).await;
    assert_eq!(again.metadata["cache_hit"], "true", "{:?}", again.metadata);
    assert!(endpoint.count() <= answers + 2);
    world.end().await;
}

#[tokio::test]
async fn a_model_that_obeys_a_document_writes_none_of_the_runs_files() {
    let writes = |operation: &str, path: &str| {
        let arguments = json!({"operation": operation, "path": path, "content": "PWNED"});
        ("fs_tool", arguments.to_string())
    };
    let endpoint = endpoint(vec![
        writes("file_write_safe", "notes.md"),
        writes("file_write_safe", "NOTES.md"),
        writes("file_write_safe", "review.md"),
        writes("file_write_safe", "mcp.md"),
        writes("file_write_safe", "blackboard.json"),
        writes("file_append_line", "blackboard.jsonl"),
        writes(" file_write_safe ", "drafts/one.md"),
        writes("File_Write_Safe", "two.md"),
        writes("file_read_safe", "notes.md"),
    ])
    .await;
    let world = World::new(&endpoint.url).await;
    world.run().await;
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
    for (_, request) in endpoint.requests.lock().iter() {
        for tool in request["tools"].as_array().unwrap() {
            assert!(!tool.to_string().contains("write"), "{tool}");
        }
    }
    let messages = endpoint.messages();
    let mut results = messages.iter().filter(|message| message["role"] == "tool");
    let read = results.any(|message| {
        let content = message["content"].as_str().unwrap();
        content.contains("# Notes: how a router drains")
    });
    assert!(read, "the notes can be read");
    world.end().await;
}

#[tokio::test]
async fn a_request_is_sent_as_often_as_model_attempts_says_whoever_retries_around_it() {
    let broken = http("500 Oh", "retry-after: 0\r\n", "broke");
    let endpoint = ModelEndpoint::start(move |_| Some(broken.clone())).await;
    let world = World::new(&endpoint.url).await;
    let task = TaskRequest {
        input: GOAL.to_owned(),
        ..TaskRequest::default()
    };
    let mut client = AgentServiceClient::new(world.mesh().channel("agent-research"));
    let status = client.execute_task(task.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted, "{status}");
    assert_eq!(endpoint.count(), 4);

    let mut stream = client.stream_task(task).await.unwrap().into_inner();
    while let Ok(Some(_)) = stream.message().await {}
    assert_eq!(endpoint.count(), 8);

    let error = world.try_run("run-7").await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("HTTP 500"),
        "{error}"
    );
    assert_eq!(endpoint.count(), 12);
    world.end().await;
}

#[tokio::test]
async fn the_wait_that_a_model_asks_for_is_told_to_whoever_tries_again() {
    let busy = http("429 Slow", "retry-after: 600\r\n", "later");
    let endpoint = ModelEndpoint::start(move |_| Some(busy.clone())).await;
    let world = World::new(&endpoint.url).await;
    for run_id in ["run-1", "run-2"] {
        let error = world.try_run(run_id).await.unwrap_err();
        let after = error.retry_after().unwrap();
        assert!(after > Duration::from_secs(590), "{after:?}: {error}");
        assert!(after < Duration::from_secs(700), "{after:?}: {error}");
    }
    // The second run was told without a request.
    assert_eq!(endpoint.count(), 1);
    world.end().await;
}
