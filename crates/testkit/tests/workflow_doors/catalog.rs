//! Workflows are kept: versions, patches, names.

use serde_json::json;

use crate::support::{Doors, has, row, send};

#[tokio::test]
async fn a_workflow_is_stored_listed_read_and_deleted() {
    let doors = Doors::start(&[]).await;
    let stored = doors.put("main", &row()).await;
    has(
        &stored,
        "artifact_id cas_id version_hash tag owner nodes_count edges_count created_at",
    );
    assert_eq!(
        (&stored["tag"], &stored["owner"]),
        (&json!("main"), &json!("test-user"))
    );
    assert_eq!(
        (&stored["nodes_count"], &stored["edges_count"]),
        (&json!(3), &json!(2))
    );
    assert!(stored["cas_id"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(stored["cas_id"], stored["version_hash"]);

    let listed = doors.get("/api/v1/workflows").await.expect(200);
    assert_eq!(
        (&listed["count"], &listed["scope"]),
        (&json!(1), &json!("user"))
    );
    let tag = &listed["workflows"][0];
    has(
        tag,
        "tag owner target_id target_kind version moved_at created_by moved_by",
    );
    assert_eq!(tag["target_id"], stored["artifact_id"]);
    assert_eq!(tag["target_kind"], "dag_version");

    let got = doors.get("/api/v1/workflows/main").await.expect(200);
    has(
        &got,
        "tag owner artifact_id kind depth patch_count created_at created_by workflow seq components",
    );
    assert_eq!(got["workflow"], json!(null), "only where it is asked for");
    has(
        &got["components"],
        "base_cas_id base_version_hash base_version patches",
    );
    let got = doors
        .get("/api/v1/workflows/main?materialize=true")
        .await
        .expect(200);
    assert_eq!(got["workflow"], row());

    let path = format!(
        "/api/v1/artifacts/{}",
        stored["artifact_id"].as_str().unwrap()
    );
    let artifact = doors.get(&path).await.expect(200);
    has(
        &artifact,
        "artifact_id kind cas_id created_by created_at content",
    );
    assert_eq!(artifact["content"], row());

    let deleted = doors
        .send("DELETE", "/api/v1/workflows/main", &json!({}))
        .await
        .expect(200);
    has(&deleted, "message tag owner");
    assert_eq!(
        doors.get("/api/v1/workflows/main").await.problem(404)["error"],
        "workflow not found"
    );
    let again = doors
        .send("DELETE", "/api/v1/workflows/main", &json!({}))
        .await;
    assert_eq!(again.problem(404)["error"], "workflow not found");
    doors.drain().await;
}

#[tokio::test]
async fn everybody_has_names_of_their_own_and_all_use_the_global_ones() {
    let doors = Doors::start(&[]).await;
    doors.put("main", &row()).await;
    let body = json!({"tag_name": "shared", "workflow": row()});
    doors
        .send_as("_global_", "POST", "/api/v1/workflows", &body)
        .await
        .expect(201);
    let list = async |user: &str, scope: &str| {
        let path = format!("/api/v1/workflows?scope={scope}");
        let listed = send(doors.request("GET", &path).header("x-user-id", user))
            .await
            .expect(200);
        let tags = listed["workflows"].as_array().unwrap();
        tags.iter()
            .map(|tag| tag["tag"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("test-user", "user").await, ["main"]);
    assert_eq!(list("other", "user").await, [""; 0]);
    assert_eq!(list("other", "global").await, ["shared"]);
    assert_eq!(list("other", "all").await, ["shared"]);
    assert_eq!(list("test-user", "all").await, ["main", "shared"]);
    let shared = doors.get("/api/v1/workflows/shared").await.expect(200);
    assert_eq!(shared["owner"], "_global_");
    let foreign = send(
        doors
            .request("GET", "/api/v1/workflows/main")
            .header("x-user-id", "other"),
    );
    foreign.await.problem(404);
    let foreign = doors
        .send_as("other", "DELETE", "/api/v1/workflows/shared", &json!({}))
        .await;
    foreign.problem(404);
    doors.execute("shared", &json!({})).await;
    doors.drain().await;
}

#[tokio::test]
async fn patches_make_versions_that_stay_readable() {
    let doors = Doors::start(&[]).await;
    doors.put("release/v1.0", &row()).await;
    let path = "/api/v1/workflows/release%2Fv1.0";
    let patch = async |operations, more: serde_json::Value| {
        let mut body = json!({"operations": operations, "description": "a change"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        doors.send("PATCH", &format!("{path}/patch"), &body).await
    };
    let added = json!([
        {"op": "add", "path": "/nodes/-", "value": {"id": "d", "type": "noop"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "c", "to": "d"}},
    ]);
    let first = patch(added, json!({})).await.expect(200);
    has(
        &first,
        "artifact_id cas_id depth op_count tag owner description created_at",
    );
    assert_eq!(
        (&first["depth"], &first["op_count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        (&first["tag"], &first["description"]),
        (&json!("release/v1.0"), &json!("a change"))
    );
    let replaced = json!([{"op": "replace", "path": "/nodes/@d/type", "value": "join"}]);
    let second = patch(replaced.clone(), json!({"if_version": first["version"]}))
        .await
        .expect(200);
    assert_eq!(second["depth"], 2);
    let late = patch(replaced, json!({"if_version": first["version"]})).await;
    late.problem(409);

    let got = doors
        .get(&format!("{path}?materialize=true"))
        .await
        .expect(200);
    assert_eq!(
        (&got["kind"], &got["depth"], &got["patch_count"]),
        (&json!("patch_set"), &json!(2), &json!(2))
    );
    assert_eq!(
        got["workflow"]["nodes"][3],
        json!({"id": "d", "type": "join"})
    );
    let patches = got["components"]["patches"].as_array().unwrap();
    assert_eq!(patches.len(), 2);
    for (at, patch) in patches.iter().enumerate() {
        has(
            patch,
            "seq artifact_id cas_id depth op_count created_at created_by",
        );
        assert_eq!(patch["seq"], at + 1);
    }
    let version = async |seq: &str| {
        doors
            .get(&format!("{path}/versions/{seq}?materialize=true"))
            .await
    };
    for (seq, nodes) in [(0, 3), (1, 4), (2, 4)] {
        let at = version(&seq.to_string()).await.expect(200);
        assert_eq!((&at["seq"], &at["depth"]), (&json!(seq), &json!(seq)));
        assert_eq!(
            at["workflow"]["nodes"].as_array().unwrap().len(),
            nodes,
            "{at}"
        );
    }
    assert_eq!(
        version("1").await.json()["workflow"]["nodes"][3]["type"],
        "noop"
    );
    version("3").await.problem(404);
    assert_eq!(
        version("x").await.problem(400)["error"],
        "seq must be a valid integer"
    );
    doors.drain().await;
}

#[tokio::test]
async fn names_move_are_undone_redone_and_tell_their_history() {
    let doors = Doors::start(&[]).await;
    let (first, second) = (
        doors.put("main", &row()).await,
        doors.put("main", &row()).await,
    );
    assert_eq!(
        (&first["version"], &second["version"]),
        (&json!(1), &json!(2))
    );
    let to = async |what: &str, body| {
        let path = format!("/api/v1/tags/main/{what}");
        doors.post(&path, &body).await
    };
    let moved = to("move", json!({"version": 1})).await.expect(200);
    assert_eq!(moved["target_id"], first["artifact_id"]);
    assert_eq!(
        to("undo", json!({})).await.expect(200)["target_id"],
        second["artifact_id"]
    );
    assert_eq!(
        to("redo", json!({})).await.expect(200)["target_id"],
        first["artifact_id"]
    );
    let got = doors.get("/api/v1/tags/main").await.expect(200);
    assert_eq!(got["target_id"], first["artifact_id"]);
    let history = doors.get("/api/v1/tags/main/history").await.expect(200);
    let moves = history["moves"].as_array().unwrap();
    let told: Vec<_> = moves
        .iter()
        .map(|it| (it["why"].clone(), it["to"].clone()))
        .collect();
    let expected = [("redo", 1), ("undo", 2), ("set", 1), ("set", 2), ("set", 1)];
    assert_eq!(told, expected.map(|(why, to)| (json!(why), json!(to))));
    to("move", json!({"version": 9})).await.problem(404);
    assert_eq!(doors.get("/api/v1/tags").await.expect(200)["count"], 1);
    doors.get("/api/v1/tags/other").await.problem(404);
    doors.drain().await;
}
