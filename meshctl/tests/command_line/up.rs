//! `meshctl up`.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use testkit::{Consul, Signal};

use crate::mesh::{LIMIT, Mesh, run};

#[tokio::test]
async fn an_interrupt_drains_the_mesh_and_closes_its_ports() {
    let mut mesh = Mesh::up(&["--consul", "none", "--echo", "2", "--routers", "2"], &[]).await;
    let instances = mesh.told["instances"].as_array().unwrap();
    let of = |service: &str| {
        instances
            .iter()
            .filter(|it| it["service"] == service)
            .count()
    };
    assert_eq!(
        (of("mcp-router"), of("agent-echo"), of("tool-weather")),
        (2, 2, 1)
    );
    for instance in instances {
        TcpStream::connect(instance["grpc"].as_str().unwrap()).unwrap();
    }
    mesh.interrupt();
    assert_eq!(mesh.process.end(LIMIT).await.code(), Some(0));
    for instance in instances {
        assert!(
            TcpStream::connect(instance["grpc"].as_str().unwrap()).is_err(),
            "{instance}"
        );
        let drained = format!("drained {}\n", instance["id"].as_str().unwrap());
        assert!(
            mesh.process.log().contains(&drained),
            "{}",
            mesh.process.log()
        );
    }
}

#[tokio::test]
async fn a_call_in_flight_finishes_while_the_mesh_drains() {
    let mut mesh = Mesh::up(&["--consul", "none"], &[("ECHO_DELAY", "1s")]).await;
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| mesh.run(&["call", "echo-agent", "ExecuteTask", "--json"]));
        wait_for_a_task(&mesh);
        mesh.interrupt();
        call.join().unwrap()
    });
    assert_eq!(answer.ok().value()["message"]["success"], true);
    assert_eq!(mesh.process.end(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut mesh = Mesh::up(&["--consul", "none"], &[("ECHO_DELAY", "1m")]).await;
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| mesh.run(&["call", "echo-agent", "ExecuteTask"]));
        wait_for_a_task(&mesh);
        mesh.interrupt();
        // Signals that come together count as one.
        while !mesh.process.log().contains("a second signal ends at once") {
            std::thread::sleep(Duration::from_millis(20));
        }
        mesh.interrupt();
        call.join().unwrap()
    });
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(mesh.process.end(LIMIT).await.code(), Some(130));
}

fn wait_for_a_task(mesh: &Mesh) {
    let started = Instant::now();
    while mesh.run(&["status", "echo-agent", "--json"]).ok().value()["active_tasks"] == 0 {
        assert!(started.elapsed() < LIMIT, "no task arrives");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let mesh = Mesh::small().await;
    let port = mesh.router.rsplit(':').next().unwrap();
    let answer = run(&["up", "--consul", "none", "--port", port]);
    assert_eq!(answer.code, Some(1));
    let text = format!("port {port} is taken: choose another with `--port N`");
    assert!(answer.stderr.contains(&text), "{answer:?}");
}

#[tokio::test]
async fn a_consul_that_is_there_is_joined_and_left() {
    let consul = Consul::start().await;
    let address = consul.http().to_string();
    let environment = [
        ("CONSUL_HTTP_ADDR", address.as_str()),
        ("SERVICE_HOST", "127.0.0.1"),
    ];
    let mut mesh = Mesh::up(&["--echo", "2"], &environment).await;
    assert_eq!(mesh.told["registry"], "consul");
    consul.wait_passing("agent-echo", 2).await;
    consul.wait_passing("mcp-router", 1).await;
    let listed = mesh.run(&["list", "agents", "--json"]).ok().value();
    assert_eq!(listed["agents"][0]["agent_id"], "echo-agent");
    mesh.process.signal(Signal::Terminate);
    assert_eq!(mesh.process.end(LIMIT).await.code(), Some(0));
    for service in [
        "agent-echo",
        "tool-weather",
        "worker-itinerary",
        "mcp-router",
    ] {
        consul.wait_passing(service, 0).await;
    }
}

#[test]
fn a_consul_that_does_not_answer_is_an_error_where_it_was_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let answer = run(&["up", "--port", "0", "--consul", &address]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("--consul none"), "{answer:?}");
}
