//! What is refused, and in which words.

use std::net::SocketAddr;

use mesh_testkit::raw_http;
use serde_json::{Value, json};

use crate::support::{Doors, row, send};

const NO_RUN: &str = "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61";

#[tokio::test]
async fn a_request_without_a_user_is_refused_unless_there_is_a_default() {
    let doors = Doors::start(&[]).await;
    for (method, path) in [
        ("GET", "/api/v1/workflows"),
        ("GET", "/api/v1/workflows/main"),
        ("POST", "/api/v1/workflows"),
        ("POST", "/api/v1/workflows/main/execute"),
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/approvals"),
        ("GET", "/api/runs"),
    ] {
        let request = doors
            .request(method, path)
            .header("content-type", "application/json");
        let answer = send(request.body(if method == "GET" { "" } else { "{}" })).await;
        let problem = answer.problem(401);
        let text = "authentication required (X-User-ID header missing)";
        assert_eq!(problem["error"], text, "{method} {path}");
    }
    doors.drain().await;
    let doors = Doors::start(&[("default_owner", "nobody")]).await;
    let body = json!({"tag_name": "main", "workflow": row()}).to_string();
    let request = doors.request("POST", "/api/v1/workflows").body(body);
    let stored = send(request.header("content-type", "application/json"))
        .await
        .expect(201);
    assert_eq!(stored["owner"], "nobody");
    doors.drain().await;
}

#[tokio::test]
async fn bad_requests_are_answered_with_the_predecessors_statuses_and_words() {
    let doors = Doors::start(&[]).await;
    doors.put("main", &row()).await;
    let run = |path: &str| format!("/api/v1/runs/{NO_RUN}{path}");
    let patch = json!({"operations": [{"op": "remove", "path": "/nodes/9"}]});
    let table: &[(&str, String, Value, u16, &str)] = &[
        (
            "POST",
            "/api/v1/workflows".into(),
            json!({"workflow": row()}),
            400,
            "tag_name is required",
        ),
        (
            "POST",
            "/api/v1/workflows".into(),
            json!({"tag_name": "a"}),
            400,
            "workflow is required",
        ),
        (
            "POST",
            "/api/v1/workflows".into(),
            json!({"tag_name": "_global_x", "workflow": row()}),
            400,
            "invalid tag_name: tag name cannot start with '_global_'",
        ),
        (
            "POST",
            "/api/v1/workflows".into(),
            json!({"tag_name": "x".repeat(201), "workflow": row()}),
            400,
            "invalid tag_name: tag name too long (max 200 characters)",
        ),
        (
            "POST",
            "/api/v1/workflows".into(),
            json!([]),
            400,
            "must be an object",
        ),
        (
            "POST",
            "/api/v1/workflows".into(),
            json!({"tag_name": 7, "workflow": row()}),
            400,
            "tag_name",
        ),
        (
            "GET",
            "/api/v1/workflows?scope=mine".into(),
            json!(null),
            400,
            "invalid scope parameter (must be 'user', 'global', or 'all')",
        ),
        (
            "GET",
            "/api/v1/workflows/none".into(),
            json!(null),
            404,
            "workflow not found",
        ),
        (
            "POST",
            "/api/v1/workflows/none/execute".into(),
            json!({}),
            404,
            "workflow not found",
        ),
        (
            "POST",
            "/api/v1/workflows/main/execute".into(),
            json!({"inputs": 7}),
            400,
            "inputs",
        ),
        (
            "POST",
            "/api/v1/workflows/main/execute".into(),
            json!({"priority": 6}),
            400,
            "priority",
        ),
        (
            "PATCH",
            "/api/v1/workflows/main/patch".into(),
            json!({}),
            400,
            "operations array is required and cannot be empty",
        ),
        (
            "PATCH",
            "/api/v1/workflows/main/patch".into(),
            json!({"operations": []}),
            400,
            "operations array is required and cannot be empty",
        ),
        (
            "PATCH",
            "/api/v1/workflows/main/patch".into(),
            patch.clone(),
            400,
            "invalid patch operations",
        ),
        (
            "PATCH",
            "/api/v1/workflows/main/patch".into(),
            json!({"operations": [{"op": "test", "path": "/nodes/0/id", "value": "z"}]}),
            400,
            "invalid patch operations",
        ),
        (
            "PATCH",
            "/api/v1/workflows/none/patch".into(),
            patch.clone(),
            404,
            "workflow not found",
        ),
        (
            "GET",
            "/api/v1/runs/7".into(),
            json!(null),
            400,
            "invalid run_id format",
        ),
        ("GET", run(""), json!(null), 404, "run not found"),
        ("GET", run("/details"), json!(null), 404, "run not found"),
        ("GET", run("/patches"), json!(null), 404, "run not found"),
        ("GET", run("/events"), json!(null), 404, "run not found"),
        ("POST", run("/cancel"), json!({}), 404, "run not found"),
        ("POST", run("/retry"), json!({}), 404, "run not found"),
        ("POST", run("/patches"), patch, 404, "run not found"),
        (
            "POST",
            run("/fork"),
            json!({"from": "a"}),
            404,
            "run not found",
        ),
        ("POST", run("/fork"), json!({}), 400, "from is required"),
        ("POST", run("/signals/x"), json!({}), 404, "run not found"),
        (
            "GET",
            "/api/v1/artifacts/7".into(),
            json!(null),
            400,
            "invalid artifact_id format",
        ),
        (
            "GET",
            format!("/api/v1/artifacts/{NO_RUN}"),
            json!(null),
            404,
            "artifact not found",
        ),
        (
            "POST",
            "/api/approval".into(),
            json!({}),
            400,
            "run_id and node_id are required",
        ),
        (
            "POST",
            "/api/approval".into(),
            json!({"run_id": NO_RUN, "node_id": "a", "approved": true}),
            404,
            "Approval request not found",
        ),
        (
            "POST",
            "/api/approval".into(),
            json!({"run_id": "../..", "node_id": "a", "approved": true}),
            404,
            "Approval request not found",
        ),
        (
            "GET",
            "/api/v1/approvals/x".into(),
            json!(null),
            404,
            "Approval request not found",
        ),
        (
            "GET",
            "/ws".into(),
            json!(null),
            400,
            "username query parameter required",
        ),
        (
            "GET",
            "/ws?username=a&cursor=zz".into(),
            json!(null),
            400,
            "cursor",
        ),
        (
            "GET",
            "/api/logs/stream".into(),
            json!(null),
            400,
            "run_id is required",
        ),
        (
            "GET",
            "/api/v1/runs?status=odd".into(),
            json!(null),
            400,
            "status",
        ),
        (
            "GET",
            "/api/v1/runs?since=yesterday".into(),
            json!(null),
            400,
            "since",
        ),
        (
            "GET",
            "/api/v1/runs?limit=0".into(),
            json!(null),
            400,
            "limit",
        ),
        (
            "GET",
            "/api/v1/runs?labels.a=b".into(),
            json!(null),
            422,
            "labels.a",
        ),
    ];
    for (method, path, body, status, words) in table {
        let answer = match *method {
            "GET" => doors.get(path).await,
            method => doors.send(method, path, body).await,
        };
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text);
        let problem = answer.problem(*status);
        let error = problem["error"].as_str().unwrap();
        assert!(error.contains(words), "{method} {path}: {error}");
    }
    let request = doors.request("POST", "/api/approval").body("{}");
    let nobody = send(request.header("content-type", "application/json")).await;
    assert_eq!(nobody.problem(400)["error"], "X-User-ID header required");
    let request = doors
        .request("POST", "/api/v1/workflows")
        .header("x-user-id", "a");
    send(request.header("content-type", "application/json").body("{"))
        .await
        .problem(400);
    let request = doors
        .request("POST", "/api/v1/workflows")
        .header("x-user-id", "a");
    send(request.header("content-type", "text/plain").body("{}"))
        .await
        .problem(415);
    doors.drain().await;
}

#[tokio::test]
async fn hostile_names_are_refused_and_hostile_contents_are_only_contents() {
    let doors = Doors::start(&[]).await;
    for user in ["", " ", "a\tb", "\u{202e}nimda", &"x".repeat(101)] {
        let value = reqwest::header::HeaderValue::from_bytes(user.as_bytes());
        let Ok(value) = value else { continue };
        let request = doors
            .request("GET", "/api/v1/workflows")
            .header("x-user-id", value);
        let status = send(request).await.status;
        assert!([400, 401].contains(&status), "{user:?}: {status}");
    }
    for tag in ["a\nb", "\u{202e}a", "a\0b", "validate", ""] {
        let body = json!({"tag_name": tag, "workflow": row()});
        doors.post("/api/v1/workflows", &body).await.problem(400);
    }
    for (tag, path) in [
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("' OR 1=1 --", "'%20OR%201=1%20--"),
        ("a?b#c", "a%3Fb%23c"),
        ("50%", "50%25"),
        ("日本語", "%E6%97%A5%E6%9C%AC%E8%AA%9E"),
        ("$nodes.x", "$nodes.x"),
    ] {
        doors.put(tag, &row()).await;
        let got = doors
            .get(&format!("/api/v1/workflows/{path}"))
            .await
            .expect(200);
        assert_eq!(got["tag"], tag);
    }
    let bad = doors.get("/api/v1/workflows/%FF").await;
    bad.problem(400);
    let label = json!({"workflow": row(), "labels": {"x": "y".repeat(129)}});
    doors.post("/api/v1/runs", &label).await.problem(400);
    doors.drain().await;
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing_and_open_no_websocket() {
    let doors = Doors::start(&[("allowed_origins", "https://console.example")]).await;
    let address: SocketAddr = doors.gateway.grpc_addr;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let status = async |method: &str, path: &str, origin: &str, more: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\n{more}\r\n"
        );
        raw_http::status(address, &head).await
    };
    let (evil, listed) = ("http://evil.example", "https://console.example");
    assert_eq!(status("GET", "/ws?username=a", evil, upgrade).await, 403);
    assert_eq!(status("GET", "/ws?username=a", "null", upgrade).await, 403);
    assert_eq!(status("GET", "/ws?username=a", listed, upgrade).await, 101);
    let events = format!("/api/v1/runs/{NO_RUN}/events");
    assert_eq!(status("GET", &events, evil, upgrade).await, 403);
    let body = "Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\nX-User-ID: a\r\n";
    for (method, path) in [
        ("POST", "/api/v1/workflows"),
        ("PATCH", "/api/v1/workflows/main/patch"),
        ("DELETE", "/api/v1/workflows/main"),
        ("POST", "/api/approval"),
        ("POST", "/api/runs"),
    ] {
        assert_eq!(
            status(method, path, evil, body).await,
            403,
            "{method} {path}"
        );
    }
    let asks =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-user-id\r\n";
    let request = doors
        .request("OPTIONS", "/api/approval")
        .header("origin", listed);
    let request = request.header("access-control-request-method", "PATCH");
    let preflight = send(request).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-origin"], listed);
    for (name, word) in [
        ("access-control-allow-methods", "PATCH"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-allow-headers", "x-user-id"),
    ] {
        assert!(
            preflight.headers[name].to_str().unwrap().contains(word),
            "{name}"
        );
    }
    assert_eq!(status("OPTIONS", "/api/approval", evil, asks).await, 403);
    doors.drain().await;
}

#[tokio::test]
async fn an_invalid_workflow_is_refused_with_every_mistake_and_its_place() {
    let doors = Doors::start(&[]).await;
    let bad = json!({"nodes": [{"id": "a", "type": "odd"}, {"id": "b b", "type": "noop"}],
        "edges": [{"from": "a", "to": "z"}]});
    let body = json!({"tag_name": "bad", "workflow": bad});
    let problem = doors.post("/api/v1/workflows", &body).await.problem(422);
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["field"].clone())
        .collect();
    assert!(fields.len() >= 3, "{problem}");
    assert!(
        fields.contains(&json!("/workflow/nodes/0/type")),
        "{fields:?}"
    );
    doors.get("/api/v1/workflows/bad").await.problem(404);
    doors
        .post("/api/v1/runs", &json!({"workflow": bad}))
        .await
        .problem(422);
    let said = doors
        .post("/api/v1/workflows/validate", &bad)
        .await
        .expect(200);
    assert_eq!(said["valid"], false);
    assert_eq!(said["errors"].as_array().unwrap().len(), fields.len());
    let said = doors
        .post("/api/v1/workflows/validate", &json!({"workflow": row()}))
        .await
        .expect(200);
    assert_eq!(
        (&said["valid"], &said["entry_nodes"]),
        (&json!(true), &json!(["a"]))
    );
    doors.put("main", &row()).await;
    let unreachable = json!({"operations": [{"op": "remove", "path": "/nodes/1"}]});
    doors
        .send("PATCH", "/api/v1/workflows/main/patch", &unreachable)
        .await
        .problem(422);
    doors.drain().await;
}

#[tokio::test]
async fn without_a_place_to_keep_them_there_are_no_workflows_and_jobs_go_on() {
    let doors = Doors::start(&[("workflows_path", "")]).await;
    let problem = doors.get("/api/v1/workflows").await.problem(503);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("WORKFLOWS_PATH"),
        "{problem}"
    );
    assert_eq!(doors.get("/api/v1/jobs").await.status, 200);
    assert_eq!(doors.get("/health").await.status, 200);
    doors.drain().await;
}
