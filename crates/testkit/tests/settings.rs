//! Settings that change while calls run: real Consul, real programs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use mesh_testkit::{Consul, Load, Program, http_client, load, tools, until};
use serde_json::{Value, json};
use tokio::time::sleep;

/// How soon a setting is to hold in every router; on a busy machine a little later.
const SOON: Duration = Duration::from_secs(5);
const KV: &str = "kv/mesh/services/agent-echo/lb_policy";

#[tokio::test]
async fn a_policy_set_in_kv_holds_at_once_and_a_bad_one_is_refused_and_shown() {
    let consul = Consul::start().await;
    let _echoes = Program::several("echo-agent", 3, &consul.env()).await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    consul.wait_passing("agent-echo", 3).await;
    let load = Load::start(router.grpc, 100, 600);
    assert_eq!(instances_of(&router, "s1").await.len(), 3);
    shows(&router, "least_request", "default").await;

    put(&consul, KV, "session").await;
    shows(&router, "session", "KV mesh/services/agent-echo/lb_policy").await;
    // Whatever the session hashes to, it is one instance for all of its calls.
    assert_eq!(instances_of(&router, "s1").await.len(), 1);

    put(&consul, KV, "fastest").await;
    let refused = until("the bad value is shown", SOON, async || {
        config(&router).await["refused"]
            .as_array()?
            .first()
            .cloned()
    })
    .await;
    assert_eq!(refused["value"], "fastest");
    assert!(
        refused["reason"]
            .as_str()
            .unwrap()
            .contains("least_request"),
        "{refused}"
    );
    assert_eq!(
        instances_of(&router, "s1").await.len(),
        1,
        "the old one stays"
    );
    let metrics = http_client::get(&format!("http://{}/metrics", router.admin)).await;
    let (_, metrics) = metrics.unwrap();
    assert!(
        metrics.contains("mesh_config_refused{source=\"kv\"} 1"),
        "{metrics}"
    );
    let log = router.process.log();
    assert_eq!(log.matches("setting refused").count(), 1, "said once");

    consul.delete(KV).await;
    shows(&router, "least_request", "default").await;
    assert_eq!(instances_of(&router, "s1").await.len(), 3);
    let failed: Vec<_> = load
        .finish()
        .await
        .into_iter()
        .filter(|c| c.outcome.is_err())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    router.assert_healthy();
}

#[tokio::test]
async fn a_drained_instance_gets_no_new_call_but_one_that_asks_for_it() {
    let consul = Consul::start().await;
    let echoes = Program::several("echo-agent", 2, &consul.env()).await;
    let router = Program::start("mcp-router", &consul.env()).await;
    consul.wait_passing("agent-echo", 2).await;
    assert_eq!(instances_of(&router, "").await.len(), 2);
    let (drained, other) = (&echoes[0].id, &echoes[1].id);
    let told = meshctl(&consul, &["drain", drained]).await;
    assert!(told.contains("gets no new calls"), "{told}");
    assert_eq!(meshctl(&consul, &["drain"]).await.trim(), drained);
    let nobody = meshctl_output(&consul, &["drain", "nope"]).await;
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("no instance \"nope\""), "{said}");
    assert_eq!(meshctl(&consul, &["drain"]).await.trim(), drained);
    until("the router knows", SOON, async || {
        (config(&router).await["drained"] == json!([drained])).then_some(())
    })
    .await;
    let used = until("calls avoid it", SOON, async || {
        let used = instances_of(&router, "").await;
        (used.len() == 1).then_some(used)
    })
    .await;
    assert_eq!(used, BTreeSet::from([other.clone()]));
    assert_eq!(pinned(&router, drained).await.unwrap(), *drained);
    let nobody = pinned(&router, "echo-agent-nobody").await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::FailedPrecondition);
    assert!(nobody.message().contains("echo-agent-nobody"), "{nobody}");

    meshctl(&consul, &["drain", "--undo", drained]).await;
    until("it is used again", SOON, async || {
        (instances_of(&router, "").await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_routers_file_is_read_again_when_it_changes() {
    let consul = Consul::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.toml");
    std::fs::write(&path, "[services.agent-echo]\nlb_policy = \"random\"\n").unwrap();
    let file = [("MESH_CONFIG", path.display().to_string())];
    let router = Program::start("mcp-router", &[consul.env(), file.to_vec()].concat()).await;
    let source = format!("file {}", path.display());
    shows(&router, "random", &source).await;
    std::fs::write(&path, "[services.agent-echo]\nlb_policy = \"peak_ewma\"\n").unwrap();
    shows(&router, "peak_ewma", &source).await;
    put(&consul, KV, "session").await;
    shows(&router, "session", "KV mesh/services/agent-echo/lb_policy").await;
}

/// What `meshctl` says on its standard output.
async fn meshctl(consul: &Consul, args: &[&str]) -> String {
    let output = meshctl_output(consul, args).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn meshctl_output(consul: &Consul, args: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(tools::program("meshctl"));
    command
        .args(args)
        .args(["--consul", &consul.http().to_string()]);
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    ended.unwrap().unwrap()
}

/// A value as it is, not as JSON.
async fn put(consul: &Consul, path: &str, value: &str) {
    let url = format!("http://{}/v1/{path}", consul.http());
    http_client::put(&url, value.to_owned()).await;
}

async fn config(router: &Program) -> Value {
    let url = format!("http://{}/config", router.admin);
    http_client::json(&url).await.unwrap_or_default()
}

/// Waits until a router shows this policy of the echo agents, from this source.
async fn shows(router: &Program, policy: &str, source: &str) {
    let what = format!("{policy} from {source}");
    until(&what, SOON, async || {
        let shown = &config(router).await["services"]["agent-echo"]["lb_policy"];
        let value = shown["value"].as_str()?;
        // Nothing given is what the mesh itself has chosen.
        let value = if value.is_empty() {
            "least_request"
        } else {
            value
        };
        (value == policy && shown["source"] == source).then_some(())
    })
    .await;
    // The table is read before the fleet has taken it over.
    sleep(Duration::from_millis(100)).await;
}

/// Which instances answer calls of a session: so many that chance, with the load's calls in between,
/// leaves none of three out.
async fn instances_of(router: &Program, session: &str) -> BTreeSet<String> {
    let mut client = load::client(router.grpc);
    let mut seen = BTreeSet::new();
    for number in 0..50 {
        let mut request = tonic::Request::new(task(number));
        if !session.is_empty() {
            request
                .metadata_mut()
                .insert("x-mesh-session", session.parse().unwrap());
        }
        let answer = client.execute_task(request).await.unwrap();
        let id = answer.metadata().get("x-mesh-instance").unwrap();
        seen.insert(id.to_str().unwrap().to_owned());
    }
    seen
}

/// Who answers a call that is for one instance.
async fn pinned(router: &Program, id: &str) -> Result<String, tonic::Status> {
    let mut request = tonic::Request::new(task(0));
    request
        .metadata_mut()
        .insert("x-mesh-instance", id.parse().unwrap());
    let answer = load::client(router.grpc).execute_task(request).await?;
    let by = answer.metadata().get("x-mesh-instance").unwrap();
    Ok(by.to_str().unwrap().to_owned())
}

fn task(number: usize) -> proto::agentplatform::TaskRequest {
    proto::agentplatform::TaskRequest {
        task_id: number.to_string(),
        agent_id: "echo-agent".to_owned(),
        ..Default::default()
    }
}
