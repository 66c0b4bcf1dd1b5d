//! An agent's gRPC service.

use std::time::Duration;

use futures_util::FutureExt as _;
use mesh_agentkit::{OutputStream, serve_agent};
use proto::{
    agentplatform::{AgentInfo, ListAgentsRequest, StatusRequest, TaskChunk},
    error_info,
};
use testkit::{
    clients::{self, task},
    until,
};
use tonic::{Code, Status};

use crate::probes::{ABOUT, AGENT, Probe, reason};

async fn agent(probe: &Probe) -> clients::Agent {
    let probe = probe.clone();
    let set = [("max_message_bytes", "64KiB")];
    clients::Agent::start(&AGENT, |c| Ok(serve_agent(c, ABOUT, probe)), &set).await
}

/// The chunks of a stream, and the status that ends it.
async fn chunks(agent: &clients::Agent, goal: &str) -> (Vec<TaskChunk>, Option<Status>) {
    let stream = agent.client.clone().stream_task(task(goal, &[])).await;
    let (mut stream, mut chunks) = match stream {
        Ok(stream) => (stream.into_inner(), Vec::new()),
        Err(status) => return (Vec::new(), Some(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(chunk)) => chunks.push(chunk),
            Ok(None) => return (chunks, None),
            Err(status) => return (chunks, Some(status)),
        }
    }
}

fn contents(chunks: &[TaskChunk]) -> Vec<(&str, bool)> {
    let chunks = chunks.iter();
    chunks.map(|c| (c.content.as_str(), c.is_final)).collect()
}

async fn active_tasks(agent: &clients::Agent, count: i32) {
    until("active tasks", Duration::from_secs(10), async || {
        let mut client = agent.client.clone();
        let status = client.get_status(StatusRequest::default()).await;
        (status.unwrap().into_inner().active_tasks == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outcome_is_answered_with_the_facts_that_have_a_value() {
    let agent = agent(&Probe::default()).await;
    let answer = agent.execute(" greet ").await;
    assert!(answer.success && answer.error.is_empty());
    assert_eq!(answer.output, "greet for s1");
    assert_eq!((&*answer.task_id, &*answer.session_id), ("t1", "s1"));
    let mut names: Vec<_> = answer.metadata.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["agent_id", "mode", "processed_at", "session_id"]);
    assert_eq!(answer.metadata["agent_id"], agent.running.instance_id);
    agent.running.drain().await;
}

#[tokio::test]
async fn a_wrong_task_is_answered_and_a_missing_dependency_is_a_status() {
    let agent = agent(&Probe::default()).await;
    let wrong = agent.execute("  ").await;
    assert!(!wrong.success && wrong.output.is_empty());
    assert_eq!(wrong.error, "input is empty: say what to do");
    assert_eq!((&*wrong.task_id, &*wrong.session_id), ("t1", "s1"));

    let mut client = agent.client.clone();
    let status = client.execute_task(task("break", &[])).await.unwrap_err();
    assert_eq!(
        reason(&status),
        (Code::Unavailable, "DEPENDENCY_AWAY".to_owned())
    );
    // No hop may try another instance: it has the same tools.
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    assert_eq!(pushback, "-1");

    let status = client
        .execute_task(task("no model", &[]))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), (Code::Aborted, "MODEL_AWAY".to_owned()));
    let wait = error_info::retry_after(&status);
    assert_eq!(wait, Some(Duration::from_secs(7)));
    agent.running.drain().await;
}

#[tokio::test]
async fn a_stream_is_what_was_sent_then_the_rest_and_the_mark_of_the_end() {
    let agent = agent(&Probe::default()).await;
    let (chunks, status) = chunks(&agent, "stream").await;
    assert!(status.is_none());
    assert_eq!(
        contents(&chunks),
        [
            ("one ", false),
            ("two ", false),
            ("three ", false),
            ("four", false),
            ("[COMPLETE]", true)
        ]
    );
    let named = |c: &TaskChunk| c.task_id == "t1" && c.session_id == "s1";
    assert!(chunks.iter().all(named));
    agent.running.drain().await;
}

#[tokio::test]
async fn an_output_that_is_not_what_was_sent_follows_whole() {
    let agent = agent(&Probe::default()).await;
    let (chunks, _) = chunks(&agent, "contradict").await;
    assert_eq!(
        contents(&chunks),
        [("one ", false), ("two", false), ("[COMPLETE]", true)]
    );
    agent.running.drain().await;
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_a_status_and_no_mark() {
    let agent = agent(&Probe::default()).await;
    let (sent, status) = chunks(&agent, "break").await;
    assert_eq!(contents(&sent), [("one ", false)]);
    assert_eq!(reason(&status.unwrap()).1, "DEPENDENCY_AWAY");
    let (sent, status) = chunks(&agent, " ").await;
    assert!(sent.is_empty());
    assert_eq!(
        reason(&status.unwrap()),
        (Code::InvalidArgument, "TASK_REFUSED".to_owned())
    );
    agent.running.drain().await;
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_task() {
    let probe = Probe::default();
    let agent = agent(&probe).await;
    let mut client = agent.client.clone();
    tokio::select! {
        answer = client.execute_task(task("hang", &[])) => panic!("{answer:?}"),
        () = async {
            probe.has_begun(1).await;
            active_tasks(&agent, 1).await;
        } => {}
    }
    probe.has_dropped(1).await;
    active_tasks(&agent, 0).await;

    let stream = agent.client.clone().stream_task(task("hang", &[])).await;
    let mut stream = stream.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.content, "begun ");
    active_tasks(&agent, 1).await;
    drop(stream);
    probe.has_dropped(2).await;
    active_tasks(&agent, 0).await;
    agent.running.drain().await;
}

#[tokio::test]
async fn a_deadline_ends_the_task() {
    let probe = Probe::default();
    let agent = agent(&probe).await;
    let mut request = tonic::Request::new(task("hang", &[]));
    request.set_timeout(Duration::from_millis(200));
    let status = agent.client.clone().execute_task(request).await;
    assert!(matches!(
        status.unwrap_err().code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    probe.has_dropped(1).await;
    agent.running.drain().await;
}

#[test]
fn an_agent_waits_for_a_reader_who_is_slow() {
    let (stream, mut pieces) = OutputStream::channel();
    let sent = (0..1000).take_while(|_| stream.send("x").now_or_never().is_some());
    let sent = sent.count();
    assert!((1..1000).contains(&sent), "{sent} pieces wait");
    pieces.try_recv().unwrap();
    assert!(stream.send("y").now_or_never().is_some());
    // Without a reader nothing waits, and nothing is kept.
    drop(pieces);
    assert!(stream.send("z").now_or_never().is_some());
}

#[tokio::test]
async fn it_lists_itself_and_registers_nobody() {
    let agent = agent(&Probe::default()).await;
    let info = agent.info().await;
    assert_eq!(
        (&*info.agent_id, &*info.capabilities),
        ("probe-agent", &["probe".to_owned()][..])
    );
    assert_eq!(info.endpoint, agent.running.grpc_addr.to_string());
    assert!(info.detailed_description.contains("say: repeats"));
    let mut client = agent.client.clone();
    let other = ListAgentsRequest {
        filter: "echo".to_owned(),
    };
    let listed = client.list_agents(other).await.unwrap().into_inner();
    assert!(listed.agents.is_empty());
    let status = client.register_agent(AgentInfo::default()).await;
    assert_eq!(reason(&status.unwrap_err()).1, "REGISTER_WITH_CONSUL");
    agent.running.drain().await;
}

#[tokio::test]
async fn a_task_over_the_limit_is_refused_with_its_key() {
    let agent = agent(&Probe::default()).await;
    let large = task(&"x".repeat(70 * 1024), &[]);
    let status = agent.client.clone().execute_task(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = error_info::read(&status).unwrap();
    assert_eq!(info.metadata["key"], "max_message_bytes");
    agent.running.drain().await;
}
