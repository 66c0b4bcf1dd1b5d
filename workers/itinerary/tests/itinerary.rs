//! The itinerary worker as its callers see it: real sockets, and a registry in memory through which
//! it finds a real weather tool, or none.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use discovery::{Discovery as _, backends::Memory};
use itinerary_worker::SPEC;
use proto::agentplatform::{
    ListWorkersRequest, TaskRequest, TaskResponse, TaskStatusRequest, TaskStatusResponse,
    task_worker_client::TaskWorkerClient,
};
use serde_json::Value;
use service::ServerHandle;
use testkit::{clients::parameters, local, until};
use tokio::net::TcpListener;
use tonic::transport::Channel;

async fn worker(registry: &Arc<Memory>) -> (ServerHandle, TaskWorkerClient<Channel>) {
    let running = local::start(&SPEC, itinerary_worker::build, registry, &[]).await;
    let client = TaskWorkerClient::new(local::connect(&running).await);
    (running, client)
}

async fn tool(registry: &Arc<Memory>) -> ServerHandle {
    local::start(&weather_tool::SPEC, weather_tool::build, registry, &[]).await
}

fn task(id: &str, pairs: &[(&str, &str)]) -> TaskRequest {
    TaskRequest {
        task_id: id.into(),
        session_id: "s1".into(),
        parameters: parameters(pairs),
        ..TaskRequest::default()
    }
}

async fn process(
    client: &mut TaskWorkerClient<Channel>,
    id: &str,
    parameters: &[(&str, &str)],
) -> TaskResponse {
    client
        .process_task(task(id, parameters))
        .await
        .unwrap()
        .into_inner()
}

async fn status(client: &mut TaskWorkerClient<Channel>, id: &str) -> TaskStatusResponse {
    let request = TaskStatusRequest { task_id: id.into() };
    client.get_task_status(request).await.unwrap().into_inner()
}

/// The status of the task `t3` once it is `expected`.
async fn state(client: &TaskWorkerClient<Channel>, expected: &str) -> TaskStatusResponse {
    let mut client = client.clone();
    until(expected, Duration::from_secs(5), async || {
        let seen = status(&mut client, "t3").await;
        (seen.status == expected).then_some(seen)
    })
    .await
}

#[tokio::test]
async fn a_plan_carries_the_forecast_of_the_weather_tool_in_the_mesh() {
    let registry = Arc::new(Memory::new());
    let tool = tool(&registry).await;
    let (running, mut client) = worker(&registry).await;
    let asked = [
        ("destination", "Paris"),
        ("days", "2"),
        ("interests", "art,food"),
    ];
    let answer = process(&mut client, "t1", &asked).await;
    assert!(answer.success, "{}", answer.error);
    assert_eq!((&*answer.task_id, &*answer.session_id), ("t1", "s1"));
    assert_eq!(answer.metadata["worker_id"], running.instance_id);
    assert_eq!(
        (&*answer.metadata["destination"], &*answer.metadata["days"]),
        ("Paris", "2")
    );
    let plan: Value = serde_json::from_str(&answer.output).unwrap();
    let weather = plan["weather_info"].as_array().unwrap();
    assert_eq!(weather.len(), 2);
    for (day, weather) in plan["daily_schedule"]
        .as_array()
        .unwrap()
        .iter()
        .zip(weather)
    {
        assert_eq!(day["date"], weather["date"]);
        assert_eq!(day["weather"], weather["condition"]);
        assert!(
            weather["source"]
                .as_str()
                .unwrap()
                .contains("climate normals")
        );
    }
    let status = status(&mut client, "t1").await;
    assert_eq!((&*status.status, &*status.progress), ("completed", "100%"));
    assert_eq!(status.result, answer.output);
    running.drain().await;
    tool.drain().await;
}

#[tokio::test]
async fn without_a_weather_tool_the_plan_is_made_and_says_so() {
    let (running, mut client) = worker(&Arc::new(Memory::new())).await;
    let began = Instant::now();
    let answer = process(&mut client, "t2", &[("destination", "Kyoto")]).await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let plan: Value = serde_json::from_str(&answer.output).unwrap();
    assert_eq!(plan["total_days"], 3);
    assert_eq!(plan["weather_info"]["available"], false);
    assert!(
        plan["weather_info"]["error"]
            .as_str()
            .unwrap()
            .contains("tool-weather"),
        "{plan}"
    );
    running.drain().await;
}

#[tokio::test]
async fn a_task_that_waits_for_the_weather_is_seen_processing_and_a_lost_caller_fails_it() {
    // Takes connections and says nothing: a weather tool that hangs.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Arc::new(Memory::new());
    let address = silent.local_addr().unwrap();
    let hung = discovery::Registration {
        tags: vec!["tool".into()],
        ..local::registration("weather-tool-hung", "tool-weather", address)
    };
    registry.register(&hung).await.unwrap();
    let (running, mut client) = worker(&registry).await;
    let mut caller = client.clone();
    let call = caller.process_task(task("t3", &[("destination", "Rome")]));
    tokio::select! {
        _ = call => panic!("the plan did not wait for the weather"),
        seen = state(&client, "processing") => assert_eq!(seen.progress, "10%"),
    }
    state(&client, "failed").await;
    assert!(status(&mut client, "t3").await.result.contains("cancelled"));
    running.drain().await;
}

#[tokio::test]
async fn a_bad_task_fails_by_name_and_an_unknown_one_is_unknown() {
    let (running, mut client) = worker(&Arc::new(Memory::new())).await;
    for (parameters, expected) in [
        (vec![("destination", "Atlantis")], "Amsterdam, Barcelona"),
        (vec![("destination", "Paris"), ("days", "31")], "`days`"),
        (vec![], "`destination` is missing"),
    ] {
        let answer = process(&mut client, "t4", &parameters).await;
        assert!(!answer.success && answer.output.is_empty());
        assert!(answer.error.contains(expected), "{}", answer.error);
        assert_eq!((&*answer.task_id, &*answer.session_id), ("t4", "s1"));
        let status = status(&mut client, "t4").await;
        assert_eq!(
            (&*status.status, &*status.result),
            ("failed", &*answer.error)
        );
    }
    let status = status(&mut client, "never seen").await;
    assert_eq!(
        (&*status.status, &*status.task_id),
        ("unknown", "never seen")
    );
    running.drain().await;
}

#[tokio::test]
async fn it_lists_itself_with_destinations_and_parameters() {
    let (running, mut client) = worker(&Arc::new(Memory::new())).await;
    for (filter, count) in [
        ("", 1),
        ("PLANNING", 1),
        ("itinerary-worker", 1),
        ("tool", 0),
    ] {
        let request = ListWorkersRequest {
            filter: filter.into(),
        };
        let workers = client
            .list_workers(request)
            .await
            .unwrap()
            .into_inner()
            .workers;
        assert_eq!(workers.len(), count, "{filter:?}");
        if let Some(worker) = workers.first() {
            assert_eq!(worker.worker_id, "itinerary-worker");
            assert_eq!(worker.parameters.len(), 4);
            assert!(worker.detailed_description.contains("Lisbon"));
        }
    }
    running.drain().await;
}

#[tokio::test]
async fn the_keys_say_which_service_is_asked_and_for_how_long() {
    // Takes connections and says nothing: a weather tool that hangs, under another name.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Arc::new(Memory::new());
    let address = silent.local_addr().unwrap();
    let hung = local::registration("other-weather-1", "tool-other-weather", address);
    registry.register(&hung).await.unwrap();
    let set = [
        ("weather_service", "tool-other-weather"),
        ("weather_timeout", "200ms"),
    ];
    let running = local::start(&SPEC, itinerary_worker::build, &registry, &set).await;
    let mut client = TaskWorkerClient::new(local::connect(&running).await);
    let began = Instant::now();
    let answer = process(&mut client, "t9", &[("destination", "Rome")]).await;
    // The default is 2 s.
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let plan: Value = serde_json::from_str(&answer.output).unwrap();
    let error = plan["weather_info"]["error"].as_str().unwrap();
    assert!(error.contains("tool-other-weather"), "{plan}");
    running.drain().await;
}
