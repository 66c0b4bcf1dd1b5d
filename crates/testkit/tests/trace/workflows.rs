//! A run of a workflow is one trace: the request, the run, and the jobs of its nodes.

use std::time::Duration;

use mesh_testkit::{Jaeger, JobMesh, Postgres, Program, until};
use serde_json::{Value, json};

use crate::view::{EXPORTED, ancestry, is_whole, operation, spans, tag};

/// Longer than a run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_run_of_a_workflow_is_one_trace_with_the_jobs_of_its_nodes_below_it() {
    let (jaeger, postgres) = tokio::join!(Jaeger::start(), Postgres::start());
    let database = postgres.database().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
        ("DATABASE_URL", database),
    ];
    let mesh = JobMesh::start(&env).await;
    let own = [("REDIS_URL", mesh.redis.url())];
    let env = [mesh.consul.env(), env.to_vec(), own.to_vec()].concat();
    let _runner = Program::start("workflow-runner", &env).await;
    let task = |id: &str| json!({"id": id, "type": "agent", "config": {"agent": "echo-agent", "task": id}});
    let workflow = json!({
        "nodes": [task("one"), task("two")],
        "edges": [{"from": "one", "to": "two"}],
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/v1/runs", mesh.gateway.grpc);
    let request = client.post(&url).header("x-user-id", "ann");
    let request = request.header("content-type", "application/json");
    let body = json!({"workflow": workflow, "inputs": {}}).to_string();
    let answer = request.body(body).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let run_id = answer["run_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    let count = |trace: &Value, name: &str| spans(trace).filter(|it| operation(it) == name).count();
    until("the run is one trace", PATIENCE + EXPORTED, async || {
        let traces = jaeger.traces("workflow-runner").await;
        let trace = traces.into_iter().find(|trace| {
            is_whole(trace) && count(trace, "workflow inline") == 1 && count(trace, "job call") == 2
        })?;
        let of = |name: &str| {
            spans(&trace)
                .filter(|it| operation(it) == name)
                .collect::<Vec<_>>()
        };
        let run = of("workflow inline")[0];
        assert_eq!(tag(run, "mesh.workflow.run_id"), run_id);
        assert_eq!(tag(run, "mesh.workflow.status"), "COMPLETED");
        assert_eq!(of("POST /api/v1/runs").len(), 1);
        for job in of("job call") {
            let above = ancestry(&trace, job);
            let ours = |line: &&String| line.ends_with("workflow inline");
            assert_eq!(above.iter().filter(ours).count(), 1, "{above:?}");
        }
        Some(())
    })
    .await;
}
