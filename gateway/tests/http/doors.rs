//! What holds for every door, on every port. The doors are those of the API's description, so that who
//! adds one adds it here.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use testkit::{ports, raw_http};

use crate::support::{Gateway, embedded};

/// A gateway with all its ports and a store of workflows, and those ports.
async fn with_every_port(set: &[(&str, &str)]) -> (Gateway, Vec<SocketAddr>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["tasks_port", "workflows_port", "fanout_port", "mcp_port"];
    let numbers: [u16; 4] = ports::free();
    let numbers = numbers.map(|port| port.to_string());
    let runs = folder.path().join("runs").display().to_string();
    let mut all: Vec<(&str, &str)> = set.to_vec();
    all.push(("workflows_path", &runs));
    all.extend(keys.iter().zip(&numbers).map(|(key, port)| (*key, &**port)));
    let gateway = embedded(&all).await;
    let others = numbers.map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    let ports = [gateway.running.grpc_addr].into_iter().chain(others);
    (gateway, ports.collect(), folder)
}

/// Method and path of each operation, with something in place of its parameters, and whether it has a
/// body. MCP is not described there.
async fn operations(gateway: &Gateway) -> Vec<(String, String, bool)> {
    let document = gateway.get("/api/v1/openapi.json").await.json();
    let paths: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_value(document["paths"].clone()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in paths {
        let parts = path.split('/').map(|part| match part.starts_with('{') {
            true => "x",
            false => part,
        });
        let path = parts.collect::<Vec<_>>().join("/");
        for (method, operation) in methods {
            let has_body = operation.get("requestBody").is_some();
            found.push((method.to_uppercase(), path.clone(), has_body));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    for path in ["/mcp", "/mcp/tool-x"] {
        for (method, has_body) in [("POST", true), ("DELETE", false)] {
            found.push((method.to_owned(), path.to_owned(), has_body));
        }
    }
    found
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_by_any_door() {
    let (gateway, ports, _folder) = with_every_port(&[]).await;
    let mut refused = 0;
    for (method, path, _) in operations(&gateway).await {
        if method == "GET" {
            continue;
        }
        for port in &ports {
            for from in [
                "Origin: http://evil.example",
                "Origin: null",
                "Sec-Fetch-Site: cross-site",
            ] {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {port}\r\n{from}\r\n");
                let request = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
                let status = raw_http::status(*port, &request).await;
                // Another port has not every door.
                assert!([403, 404, 405].contains(&status), "{request}: {status}");
                let is_main = *port == ports[0];
                assert!(!is_main || status == 403, "{request}: {status}");
                refused += usize::from(status == 403);
            }
        }
    }
    assert!(refused > 150, "{refused}");
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_name_that_was_pointed_at_us_is_answered_by_no_door() {
    let (gateway, ports, _folder) = with_every_port(&[]).await;
    for (method, path, _) in operations(&gateway).await {
        // Balancers ask for it by any name.
        if ["/readyz", "/healthz"].contains(&&*path) {
            continue;
        }
        for port in &ports {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: evil.example\r\n");
            let request = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let status = raw_http::status(*port, &request).await;
            // MCP's own rule says 403.
            let expected = if path.starts_with("/mcp") { 403 } else { 421 };
            assert!(
                status == expected || status == 421,
                "{port} {request}: {status}"
            );
        }
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_at_every_door() {
    let (gateway, ports, _folder) = with_every_port(&[("body_timeout", "300ms")]).await;
    let operations = operations(&gateway).await;
    let doors = operations.iter().filter(|(.., has_body)| *has_body);
    let requests = doors.flat_map(|(method, path, _)| {
        ports.iter().map(move |port| {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: {port}\r\nX-User-ID: ada\r\n");
            let accepts = "Accept: application/json, text/event-stream\r\n";
            let form = format!("Content-Type: application/json\r\n{accepts}");
            let request = format!("{head}{form}Content-Length: 100\r\n\r\n{{");
            (*port, request)
        })
    });
    let mut answers = stream::iter(requests.collect::<Vec<_>>())
        .map(|(port, request)| async move {
            let begun = tokio::time::Instant::now();
            let status = raw_http::status(port, &request).await;
            (request, status, begun.elapsed())
        })
        .buffer_unordered(16);
    let mut given_up = 0;
    while let Some((request, status, took)) = answers.next().await {
        assert!((400..500).contains(&status), "{request}: {status}");
        assert!(took < Duration::from_secs(5), "{request}: {took:?}");
        given_up += usize::from(status == 408);
    }
    assert!(given_up > 15, "{given_up}");
    gateway.running.drain().await;
}
