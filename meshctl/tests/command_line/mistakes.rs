//! What a newcomer gets wrong, and what is said of it.

use crate::mesh::{Mesh, run};

#[tokio::test]
async fn a_misspelt_name_is_told_the_right_one() {
    let mesh = Mesh::small().await;
    let method = mesh.run(&["call", "echo-agent", "ExecTask"]);
    assert_eq!(method.code, Some(1));
    assert!(
        method.stderr.contains("did you mean ExecuteTask?"),
        "{method:?}"
    );
    let service = mesh.run(&["call", "echo-agent", "AgentServise/ExecuteTask"]);
    assert!(
        service
            .stderr
            .contains("did you mean agentplatform.AgentService?"),
        "{service:?}"
    );
    let target = mesh.run(&["call", "ech-agent", "ExecuteTask"]);
    assert_eq!(target.code, Some(1));
    assert!(
        target.stderr.contains("did you mean echo-agent?"),
        "{target:?}"
    );
    let described = mesh.run(&["describe", "ecko-agent"]);
    assert!(
        described.stderr.contains("did you mean echo-agent?"),
        "{described:?}"
    );
    let nothing_alike = mesh.run(&["call", "frog", "ExecuteTask"]);
    assert!(
        !nothing_alike.stderr.contains("did you mean"),
        "{nothing_alike:?}"
    );
}

#[test]
fn a_number_that_is_none_is_told_in_plain_words() {
    for (args, said) in [
        (
            &["jobs", "list", "--limit", "x"][..],
            "has to be a whole number",
        ),
        (&["jobs", "list", "--limit", "-1"], ""),
        (
            &["jobs", "submit", "http", "--priority", "x"],
            "has to be a whole number",
        ),
        (&["jobs", "submit", "http", "--priority", "9"], "1..=5"),
    ] {
        let answer = run(args);
        assert_eq!(answer.code, Some(2), "{answer:?}");
        assert!(
            answer.stderr.starts_with("error: ") && answer.stderr.contains(said),
            "{answer:?}"
        );
        assert!(!answer.stderr.contains("digit"), "{answer:?}");
    }
    assert_eq!(run(&["--version"]).code, Some(0));
}

#[test]
fn a_consul_that_is_not_there_is_told_once_with_what_to_do() {
    let [port] = testkit::ports::free();
    let consul = format!("127.0.0.1:{port}");
    for (args, advice) in [
        (&["drain", "echo-agent"][..], "name it with --consul"),
        (&["drain"], "name it with --consul"),
        (&["up"], "start one"),
    ] {
        let answer = run(&[args, &["--consul", &consul]].concat());
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
        assert_eq!(answer.stderr.matches(&consul).count(), 1, "{answer:?}");
        assert!(answer.stderr.contains(advice), "{answer:?}");
    }
}

#[tokio::test]
async fn a_port_that_speaks_no_grpc_is_told_as_that() {
    let mesh = Mesh::small().await;
    let admin = mesh.told["instances"][0]["admin"].as_str().unwrap();
    for command in [
        &["list"][..],
        &["status"],
        &["describe", "x"],
        &["call", "a", "B"],
    ] {
        let answer = run(&[command, &["--router", admin]].concat());
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.contains("does not speak gRPC"), "{answer:?}");
        assert!(answer.stderr.contains("MCP_ROUTER_ADDR"), "{answer:?}");
    }
    let answer = run(&["jobs", "list", "--gateway", &mesh.router]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("--gateway"), "{answer:?}");
}

#[test]
fn every_shell_gets_its_completion() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completion", shell]).ok().stdout;
        assert!(script.contains("requeue"), "{shell}");
    }
}

#[tokio::test]
async fn instances_are_listed_with_address_and_health() {
    let mesh = Mesh::small().await;
    let all = mesh.run(&["list", "--json"]).ok().value();
    let echo = all["instances"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["public_id"] == "echo-agent")
        .unwrap();
    assert_eq!(
        (&echo["health"], &echo["drained"]),
        (&"passing".into(), &false.into())
    );
    let started = mesh.told["instances"].as_array().unwrap().iter();
    let mut started = started.filter(|it| it["service"] == "agent-echo");
    assert!(
        started.any(|it| it["id"] == echo["id"] && it["grpc"] == echo["address"]),
        "{echo}"
    );
    for command in [&["list"][..], &["status"], &["status", "echo-agent"]] {
        let text = mesh.run(command).ok().stdout;
        assert!(text.contains(echo["id"].as_str().unwrap()), "{text}");
        assert!(text.contains("passing"), "{text}");
    }
    let one = mesh.run(&["status", "echo-agent", "--json"]).ok().value();
    assert_eq!(one["instances"].as_array().unwrap().len(), 1, "{one}");
}
