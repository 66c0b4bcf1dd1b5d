//! The echo agent as its callers see it, over a real socket.

use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, StatusRequest, TaskRequest,
    agent_service_client::AgentServiceClient,
};
use service::ServerHandle;
use testkit::clients::{self, Agent};
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Channel};

async fn echo(delay: &str) -> (ServerHandle, AgentServiceClient<Channel>) {
    let set = [("delay", delay), ("max_message_bytes", "8MiB")];
    let agent = Agent::start(&echo_agent::SPEC, echo_agent::build, &set).await;
    (agent.running, agent.client)
}

fn task(input: &str) -> TaskRequest {
    clients::task(input, &[])
}

#[tokio::test]
async fn a_task_comes_back_with_its_parameters_sorted() {
    let (running, mut client) = echo("0s").await;
    let request = clients::task("hello", &[("b", "2"), ("a", "1")]);
    let answer = client.execute_task(request).await.unwrap().into_inner();
    assert_eq!(
        answer.output,
        "Echo Agent Response: hello | Parameters: a=1, b=2"
    );
    assert_eq!(
        (answer.task_id.as_str(), answer.session_id.as_str()),
        ("t1", "s1")
    );
    assert!(answer.success && answer.error.is_empty());
    assert_eq!(answer.metadata["agent_id"], running.instance_id);
    assert_eq!(answer.metadata["task_number"], "1");
    assert_eq!(answer.metadata["session_id"], "s1");
    assert!(answer.metadata["processed_at"].parse::<u64>().unwrap() > 1_600_000_000);

    let plain = TaskRequest {
        input: "hello".to_owned(),
        ..TaskRequest::default()
    };
    let answer = client.execute_task(plain).await.unwrap().into_inner();
    assert_eq!(answer.output, "Echo Agent Response: hello");
    assert!(!answer.metadata.contains_key("session_id"));
    running.drain().await;
}

#[tokio::test]
async fn a_stream_is_a_chunk_a_word_and_complete() {
    let (running, mut client) = echo("0s").await;
    let stream = client
        .stream_task(task("one  two"))
        .await
        .unwrap()
        .into_inner();
    let chunks: Vec<_> = stream.map(Result::unwrap).collect().await;
    let told: Vec<_> = chunks
        .iter()
        .map(|c| (c.content.as_str(), c.is_final))
        .collect();
    assert_eq!(told, [("one", false), ("two", false), ("[COMPLETE]", true)]);
    assert!(
        chunks
            .iter()
            .all(|c| c.task_id == "t1" && c.session_id == "s1")
    );
    running.drain().await;
}

#[tokio::test]
async fn status_counts_the_tasks_that_run() {
    let (running, mut client) = echo("200ms").await;
    let mut other = client.clone();
    let stream = client
        .stream_task(task("a b c"))
        .await
        .unwrap()
        .into_inner();
    let mut status = async || {
        let status = other
            .get_status(StatusRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (status.status.as_str(), &status.agent_id),
            ("healthy", &running.instance_id)
        );
        status.active_tasks
    };
    assert_eq!(status().await, 1);
    assert_eq!(stream.collect::<Vec<_>>().await.len(), 4);
    assert_eq!(status().await, 0);
    running.drain().await;
}

#[tokio::test]
async fn it_lists_itself_to_whoever_means_it() {
    let (running, mut client) = echo("0s").await;
    for (filter, count) in [("", 1), ("ECHO", 1), ("agent-echo", 1), ("ech", 0)] {
        let request = ListAgentsRequest {
            filter: filter.to_owned(),
        };
        let agents = client
            .list_agents(request)
            .await
            .unwrap()
            .into_inner()
            .agents;
        assert_eq!(agents.len(), count, "{filter:?}");
        if let Some(agent) = agents.first() {
            assert_eq!(agent.agent_id, "echo-agent");
            assert_eq!(agent.endpoint, running.grpc_addr.to_string());
            assert!(!agent.use_cases.is_empty() && !agent.how_it_works.is_empty());
        }
    }
    running.drain().await;
}

#[tokio::test]
async fn it_registers_nobody_else() {
    let (running, mut client) = echo("0s").await;
    let status = client
        .register_agent(AgentInfo::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let info = proto::error_info::read(&status).unwrap();
    assert_eq!(info.reason, "REGISTER_WITH_CONSUL");
    running.drain().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_key_to_raise() {
    let (running, mut client) = echo("0s").await;
    let fits = client
        .execute_task(task(&"x".repeat(5 << 20)))
        .await
        .map(drop);
    // What comes back is over the limit of tonic's client, so it did arrive.
    assert_eq!(fits.unwrap_err().code(), Code::OutOfRange);
    let status = client
        .execute_task(task(&"x".repeat(9 << 20)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = proto::error_info::read(&status).unwrap();
    assert_eq!(info.metadata["key"], "max_message_bytes");
    running.drain().await;
}
