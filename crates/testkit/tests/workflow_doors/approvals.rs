//! People decide.

use mesh_testkit::{WebServer, until};
use serde_json::{Value, json};

use crate::support::{Doors, PATIENCE, asking, has, send};

async fn pending(doors: &Doors, run: &str) -> Value {
    let listed = doors
        .get(&format!("/api/v1/approvals?run_id={run}"))
        .await
        .expect(200);
    assert_eq!(listed["count"], 1, "{listed}");
    listed["approvals"][0].clone()
}

async fn asked(doors: &Doors, config: &Value) -> (String, Value) {
    doors.put("main", &asking(config)).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let approval = pending(doors, &run).await;
    (run, approval)
}

#[tokio::test]
async fn the_first_decision_counts_and_the_same_again_is_the_same_answer() {
    let doors = Doors::carrying(&[]).await;
    let (run, approval) = asked(&doors, &json!({})).await;
    has(
        &approval,
        "id run_id node_id message status approvers quorum form decisions created_at due_at",
    );
    let answer = |approved: bool| json!({"run_id": run, "node_id": "ask", "approved": approved, "comment": "x"});
    let first = doors.post("/api/approval", &answer(true)).await.expect(200);
    has(&first, "success message run_id node_id status");
    assert_eq!(
        (&first["success"], &first["status"]),
        (&json!(true), &json!("approved"))
    );
    let again = doors.post("/api/approval", &answer(true)).await.expect(200);
    assert_eq!(again, first);
    let other = doors
        .post("/api/approval", &answer(false))
        .await
        .problem(409);
    assert_eq!(other["error"], "Approval already processed");
    let late = doors
        .send_as("bob", "POST", "/api/approval", &answer(true))
        .await;
    late.problem(409);
    let done = doors.until_status(&run, "COMPLETED").await;
    assert_eq!(done["active_nodes"], json!([]));
    let details = doors.details(&run).await;
    has(
        &details["node_outputs_raw"]["ask"],
        "status approved approval_data node_id timestamp",
    );
    doors.drain().await;
}

#[tokio::test]
async fn two_people_at_once_are_one_decision() {
    let doors = Doors::carrying(&[]).await;
    for _ in 0..5 {
        let (run, approval) = asked(&doors, &json!({})).await;
        let path = format!(
            "/api/v1/approvals/{}/decide",
            approval["id"].as_str().unwrap()
        );
        let (yes, no) = (json!({"approved": true}), json!({"approved": false}));
        let (one, other) = tokio::join!(
            doors.send_as("ada", "POST", &path, &yes),
            doors.send_as("bob", "POST", &path, &no),
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.text, other.text);
        doors.until_status(&run, "COMPLETED").await;
    }
    doors.drain().await;
}

#[tokio::test]
async fn approvers_quorum_and_self_approval_are_obeyed() {
    for doors in [
        Doors::carrying(&[]).await,
        Doors::on_postgres(&[]).await.with_runners().await,
    ] {
        let config =
            json!({"approvers": ["ada", "bob", "test-user"], "quorum": 2, "self_approval": false});
        let (run, approval) = asked(&doors, &config).await;
        let path = format!(
            "/api/v1/approvals/{}/decide",
            approval["id"].as_str().unwrap()
        );
        let yes = json!({"approved": true});
        doors.send_as("eve", "POST", &path, &yes).await.problem(403);
        doors
            .send_as("test-user", "POST", &path, &yes)
            .await
            .problem(403);
        let first = doors.send_as("ada", "POST", &path, &yes).await.expect(200);
        assert_eq!(first["status"], "pending");
        doors.send_as("ada", "POST", &path, &yes).await.expect(200);
        assert_eq!(
            doors.run(&run).await["status"],
            "WAITING_FOR_APPROVAL",
            "ada counts once"
        );
        let of = async |person: &str| {
            let path = format!("/api/v1/approvals?approver={person}");
            doors.get(&path).await.expect(200)["count"]
                .as_u64()
                .unwrap()
        };
        assert_eq!((of("bob").await, of("eve").await), (1, 0));
        let second = doors.send_as("bob", "POST", &path, &yes).await.expect(200);
        assert_eq!(second["status"], "approved");
        assert_eq!(second["decisions"].as_array().unwrap().len(), 2);
        doors.until_status(&run, "COMPLETED").await;
        doors.drain().await;
    }
}

#[tokio::test]
async fn what_comes_with_an_approval_has_to_fit_the_form() {
    let doors = Doors::carrying(&[]).await;
    let form = json!({"type": "object", "required": ["amount"],
        "properties": {"amount": {"type": "number", "maximum": 100}}});
    let (run, approval) = asked(&doors, &json!({ "form": form })).await;
    let path = format!(
        "/api/v1/approvals/{}/decide",
        approval["id"].as_str().unwrap()
    );
    for data in [
        json!(null),
        json!({}),
        json!({"amount": "x"}),
        json!({"amount": 101}),
    ] {
        let said = json!({"approved": true, "data": data});
        let problem = doors.post(&path, &said).await.problem(422);
        assert!(
            problem["errors"][0]["field"]
                .as_str()
                .unwrap()
                .starts_with("/data"),
            "{problem}"
        );
    }
    let said = json!({"approved": true, "data": {"amount": 40}});
    doors.post(&path, &said).await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    let output = &doors.details(&run).await["node_outputs_raw"]["ask"];
    assert!(output.to_string().contains("\"amount\":40"), "{output}");
    doors.drain().await;
}

#[tokio::test]
async fn a_signed_link_lets_one_person_decide_on_one_approval_until_it_expires() {
    let set = [("approval_secret", "s3cret")];
    let doors = Doors::carrying(&set).await;
    let (run, approval) = asked(&doors, &json!({"approvers": ["ada"]})).await;
    let id = approval["id"].as_str().unwrap();
    let path = format!("/api/v1/approvals/{id}");
    let sign = async |user: &str, body: Value| {
        doors
            .send_as(user, "POST", &format!("{path}/link"), &body)
            .await
    };
    sign("eve", json!({"person": "ada"})).await.problem(403);
    sign("test-user", json!({"person": "eve"}))
        .await
        .problem(403);
    sign("test-user", json!({"person": "ada", "expires_ms": 0}))
        .await
        .problem(400);
    let short = sign("test-user", json!({"person": "ada", "expires_ms": 1}))
        .await
        .expect(201);
    let link = sign("test-user", json!({"person": "ada"}))
        .await
        .expect(201);
    has(&link, "url token person expires_at");
    // Nobody names a user here.
    let decide = async |url: &str| {
        let request = doors
            .request("POST", url)
            .header("content-type", "application/json");
        send(request.body(r#"{"approved": true}"#)).await
    };
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let expired = decide(short["url"].as_str().unwrap()).await.problem(403);
    assert_eq!(expired["error"], "the link has expired");
    let url = link["url"].as_str().unwrap();
    decide(&format!("{url}0")).await.problem(403);
    let token = link["token"].as_str().unwrap();
    let (other, _) = asked(&doors, &json!({"approvers": ["ada"]})).await;
    let foreign = pending(&doors, &other).await;
    let foreign = format!(
        "/api/v1/approvals/{}/decide?token={token}",
        foreign["id"].as_str().unwrap()
    );
    decide(&foreign).await.problem(403);
    let page = send(doors.request("GET", link["page"].as_str().unwrap())).await;
    assert_eq!(
        (page.status, &page.headers["referrer-policy"]),
        (200, &"no-referrer".parse().unwrap())
    );
    assert!(page.text.contains("/approvals/page.js"));
    let script = send(doors.request("GET", "/approvals/page.js")).await;
    assert_eq!(
        script.headers["content-type"],
        "text/javascript; charset=utf-8"
    );
    let shown = send(doors.request("GET", &format!("{path}?token={token}")))
        .await
        .expect(200);
    assert_eq!(shown["status"], "pending");
    let decided = decide(url).await.expect(200);
    assert_eq!(
        (&decided["status"], &decided["decisions"][0]["by"]),
        (&json!("approved"), &json!("ada"))
    );
    decide(url).await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    doors.drain().await;

    let doors = Doors::carrying(&[]).await;
    let (_, approval) = asked(&doors, &json!({})).await;
    let path = format!(
        "/api/v1/approvals/{}/link",
        approval["id"].as_str().unwrap()
    );
    let problem = doors.post(&path, &json!({})).await.problem(403);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("approval_secret")
    );
    doors.drain().await;
}

#[tokio::test]
async fn what_a_notify_url_is_told_has_a_link_for_each_approver_that_is_named() {
    let server = WebServer::start(|_, _| (204, String::new())).await;
    let mut doors = Doors::start(&[("approval_secret", "s3cret")]).await;
    let outside = [
        ("allow_external_requests", "yes"),
        ("external_allow_hosts", "127.0.0.1"),
    ];
    doors.beside("job-runner", &outside).await;
    let at = doors.url("");
    let links = [("approval_secret", "s3cret"), ("approval_url", at.as_str())];
    doors.beside("workflow-runner", &links).await;
    let config = json!({"approvers": ["ada", "bob"], "notify_url": format!("{}/told", server.url)});
    doors.put("asks", &asking(&config)).await;
    let run = doors.execute("asks", &json!({})).await;
    let told = until("it is told", PATIENCE, async || server.requests().pop()).await;
    let told: Value = serde_json::from_str(&told.1).unwrap();
    let links = told["links"].as_array().unwrap();
    let people: Vec<&Value> = links.iter().map(|link| &link["person"]).collect();
    assert_eq!(people, ["ada", "bob"]);
    let url = links[1]["url"].as_str().unwrap();
    let path = url.strip_prefix(at.as_str()).unwrap();
    let request = doors
        .request("POST", path)
        .header("content-type", "application/json");
    let decided = send(request.body(r#"{"approved": true}"#))
        .await
        .expect(200);
    assert_eq!(decided["decisions"][0]["by"], "bob");
    doors.until_status(&run, "COMPLETED").await;
    doors.drain().await;
}
