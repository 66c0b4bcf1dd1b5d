//! The canonical API of jobs.

use std::{collections::BTreeSet, time::Duration};

use ::jobs::JobOutcome;
use serde_json::{Value, json};

use crate::support::{Gateway, call_job, done, embedded, on_redis, read};

fn with(mut job: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        job[name] = value.clone();
    }
    job
}

#[tokio::test]
async fn a_job_is_told_from_its_submission_to_its_end() {
    let gateway = embedded(&[]).await;
    let accepted = gateway
        .post("/api/v1/jobs", with(call_job(), &json!({"priority": 5})))
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let accepted = accepted.json();
    assert_eq!(accepted["status"], "queued");
    let path = format!("/api/v1/jobs/{}", accepted["job_id"].as_str().unwrap());
    let job = gateway.get(&path).await.json();
    for field in [
        "job_id",
        "kind",
        "queue",
        "status",
        "attempt",
        "progress",
        "result",
        "error",
        "enqueued_at",
        "started_at",
        "ended_at",
        "metrics",
    ] {
        assert!(job.get(field).is_some(), "{field}: {job}");
    }
    assert_eq!(
        (&job["kind"], &job["queue"], &job["priority"]),
        (&json!("call"), &json!("default"), &json!(5))
    );
    gateway
        .work("default", done(&json!({"output": "hi"})))
        .await;
    let job = gateway.get(&path).await.json();
    assert_eq!(
        (&job["status"], &job["result"]["output"]),
        (&json!("succeeded"), &json!("hi"))
    );
    assert_eq!(
        (&job["attempt"], &job["metrics"]["execution_time_ms"]),
        (&json!(1), &json!(1))
    );
    assert!(job["ended_at"].as_str() >= job["started_at"].as_str());
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_key_makes_one_job_by_header_and_by_field() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let send = async |key: &str, body: Value| {
            let request = gateway.json("POST", "/api/v1/jobs", &body);
            read(request.header("idempotency-key", key)).await
        };
        let first = send("k1", call_job()).await;
        let again = send("k1", call_job()).await;
        assert_eq!((first.status, again.status), (202, 202));
        assert_eq!(first.json()["job_id"], again.json()["job_id"]);
        let field = with(call_job(), &json!({"idempotency_key": "k1"}));
        assert_eq!(
            gateway.post("/api/v1/jobs", field.clone()).await.json()["job_id"],
            first.json()["job_id"]
        );
        let other = with(call_job(), &json!({"payload": {"input": "other"}}));
        let problem = send("k1", other).await.problem(409);
        assert_eq!(problem["job_id"], first.json()["job_id"]);
        let problem = send("k2", field).await.problem(422);
        assert_eq!(problem["errors"][0]["field"], "idempotency_key");

        for (path, body, other) in [
            ("/enqueue", json!({"goal": "g"}), json!({"goal": "h"})),
            (
                "/tasks",
                json!({"description": "a and b"}),
                json!({"description": "c"}),
            ),
            (
                "/jobs",
                json!({"url": "http://a"}),
                json!({"url": "http://b"}),
            ),
        ] {
            let send = async |body| {
                read(
                    gateway
                        .json("POST", path, body)
                        .header("idempotency-key", path),
                )
                .await
            };
            // The ids that a front end makes are those of the first time, too.
            assert_eq!(send(&body).await.json(), send(&body).await.json(), "{path}");
            send(&other).await.problem(409);
        }
        gateway.running.drain().await;
    }
}

#[tokio::test]
async fn bad_jobs_are_refused_at_the_field_at_fault() {
    let gateway = embedded(&[]).await;
    for (path, body, field) in [
        ("/api/v1/jobs", json!({}), "kind"),
        ("/api/v1/jobs", json!([]), "body"),
        ("/api/v1/jobs", json!({"kind": "fly"}), "kind"),
        (
            "/api/v1/jobs",
            json!({"kind": "call", "method": "a.B/C", "payload": {}}),
            "service",
        ),
        ("/api/v1/jobs", json!({"kind": "http"}), "payload"),
        (
            "/api/v1/jobs",
            json!({"kind": "http", "payload": {"url": "x"}}),
            "payload.url",
        ),
        (
            "/api/v1/jobs",
            json!({"kind": "http", "service": "s", "payload": {}}),
            "service",
        ),
        (
            "/api/v1/jobs",
            json!({"kind": "pipeline", "payload": {}}),
            "payload.goal",
        ),
        (
            "/api/v1/jobs",
            json!({"kind": "task", "payload": {"description": ""}}),
            "payload.description",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"priority": 6})),
            "priority",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"priority": 300})),
            "priority",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"queue": "A B"})),
            "queue",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"delay_ms": -1})),
            "delay_ms",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"delay_ms": u64::MAX})),
            "delay_ms",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"timeout_ms": 0})),
            "timeout_ms",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"timeout_ms": u64::MAX})),
            "timeout_ms",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"max_attempts": 0})),
            "max_attempts",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"idempotency_key": ""})),
            "idempotency_key",
        ),
        (
            "/api/v1/jobs",
            with(call_job(), &json!({"colour": "red"})),
            "colour",
        ),
        ("/enqueue", json!({}), "goal"),
        ("/enqueue", json!({"goal": ""}), "goal"),
        ("/enqueue", json!({"goal": 7}), "goal"),
        ("/jobs", json!({"url": "ftp://x"}), "url"),
        (
            "/jobs",
            json!({"url": "http://x", "timeout": 31}),
            "timeout",
        ),
        (
            "/tasks",
            json!({"description": "x", "priority": 0}),
            "priority",
        ),
    ] {
        let problem = gateway.post(path, body.clone()).await.problem(422);
        assert_eq!(
            problem["errors"][0]["field"], field,
            "{path} {body}: {problem}"
        );
        assert_eq!(problem["instance"], path);
    }
    for query in [
        "status=flying",
        "kind=fly",
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=zz",
        "queue=A%20B",
    ] {
        gateway
            .get(&format!("/api/v1/jobs?{query}"))
            .await
            .problem(422);
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_job_may_take_as_long_as_the_key_says() {
    let gateway = embedded(&[("max_job_timeout", "1m")]).await;
    let job = |timeout_ms: u64| with(call_job(), &json!({ "timeout_ms": timeout_ms }));
    let answer = gateway.post("/api/v1/jobs", job(60_000)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let problem = gateway.post("/api/v1/jobs", job(60_001)).await.problem(422);
    assert_eq!(problem["errors"][0]["field"], "timeout_ms", "{problem}");
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_each_with_its_own_problem() {
    let gateway = on_redis(&[]).await;
    let mut batch: Vec<Value> = (0..1_000)
        .map(|number| with(call_job(), &json!({"payload": {"input": number.to_string()}, "queue": format!("q{}", number % 3)})))
        .collect();
    batch[7] = json!({"kind": "fly"});
    batch[8] = json!(7);
    let answer = gateway.post("/api/v1/jobs/batch", json!(batch)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let answer = answer.json();
    let answer = answer.as_array().unwrap();
    assert_eq!(answer.len(), 1_000);
    assert_eq!(answer[7]["problem"]["errors"][0]["field"], "kind");
    assert_eq!(answer[8]["problem"]["status"], 422);
    for number in [0, 9, 500, 999] {
        let id = answer[number]["job_id"].as_str().unwrap();
        assert!(id.starts_with(&format!("q{}.", number % 3)), "{id}");
    }
    batch.push(call_job());
    gateway
        .post("/api/v1/jobs/batch", json!(batch))
        .await
        .problem(422);
    let keyed = gateway
        .json("POST", "/api/v1/jobs/batch", &json!([]))
        .header("idempotency-key", "k");
    read(keyed).await.problem(422);
    let queues = gateway.get("/api/v1/queues").await.json();
    let queued: u64 = queues
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["queued"].as_u64().unwrap())
        .sum();
    assert_eq!(queued, 998);
    assert!(queues[0]["oldest_queued_seconds"].as_f64().unwrap() >= 0.0);
    gateway.running.drain().await;
}

#[tokio::test]
async fn pages_lead_through_every_job_once() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let job = with(call_job(), &json!({"delay_ms": 600_000}));
        let mut wanted = BTreeSet::new();
        for number in 0..25 {
            let job = if number % 2 == 0 {
                job.clone()
            } else {
                call_job()
            };
            let answer = gateway.post("/api/v1/jobs", job).await.json();
            wanted.insert(answer["job_id"].as_str().unwrap().to_owned());
        }
        gateway.work("default", done(&json!({}))).await;
        let all = pages(&gateway, "limit=4").await;
        assert_eq!(all.len(), 25, "none is told twice");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(pages(&gateway, "limit=4&status=scheduled").await.len(), 13);
        assert_eq!(
            pages(&gateway, "limit=4&status=succeeded&kind=call&queue=default")
                .await
                .len(),
            1
        );
        assert_eq!(pages(&gateway, "kind=http").await.len(), 0);
        gateway.running.drain().await;
    }
}

async fn pages(gateway: &Gateway, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway
            .get(&format!("/api/v1/jobs?{query}&cursor={cursor}"))
            .await
            .json();
        let jobs = page["jobs"].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(jobs.len() <= 100);
        ids.extend(
            jobs.iter()
                .map(|job| job["job_id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn jobs_are_called_off_and_dead_ones_tried_again() {
    let gateway = embedded(&[]).await;
    let submit = async |more: Value| {
        let answer = gateway
            .post("/api/v1/jobs", with(call_job(), &more))
            .await
            .json();
        format!("/api/v1/jobs/{}", answer["job_id"].as_str().unwrap())
    };
    let one = submit(json!({})).await;
    gateway
        .post(&format!("{one}/retry"), json!({}))
        .await
        .problem(409);
    let called_off = read(gateway.request("POST", &format!("{one}/cancel"))).await;
    assert_eq!(
        (called_off.status, &called_off.json()["status"]),
        (200, &json!("cancelled"))
    );

    let other = submit(json!({"max_attempts": 1})).await;
    let failed = JobOutcome::Failed {
        error: "no luck".to_owned(),
        retry: Some(Duration::ZERO),
        metrics: None,
    };
    gateway.work("default", failed).await;
    let dead = gateway.get(&other).await.json();
    assert_eq!(
        (&dead["status"], &dead["error"]),
        (&json!("dead"), &json!("no luck"))
    );
    let again = read(gateway.request("POST", &format!("{other}/retry")))
        .await
        .json();
    assert_eq!(
        (&again["status"], &again["attempt"], &again["error"]),
        (&json!("queued"), &json!(0), &json!(null))
    );
    gateway.running.drain().await;
}

#[tokio::test]
async fn names_made_up_by_anybody_make_no_more_queues_than_there_may_be() {
    let set = [("max_queues", "3"), ("queue_name", "mine")];
    for gateway in [embedded(&set).await, on_redis(&set).await] {
        let named = |queue: &str| with(call_job(), &json!({ "queue": queue }));
        let submit = async |queue: &str| gateway.post("/api/v1/jobs", named(queue)).await;
        for queue in ["one", "two", "one"] {
            assert_eq!(submit(queue).await.status, 202, "{queue}");
        }
        let batch = ["three", "four", "two", "three"].map(named);
        let batch = gateway.post("/api/v1/jobs/batch", json!(batch)).await;
        assert_eq!(batch.status, 202);
        let outcomes = batch.json();
        let refused = &outcomes[if outcomes[1]["problem"].is_object() {
            1
        } else {
            0
        }];
        assert_eq!(refused["problem"]["status"], 429, "{outcomes}");
        let taken = outcomes.as_array().unwrap().iter();
        let taken = taken
            .filter(|outcome| outcome["job_id"].is_string())
            .count();
        assert!(taken >= 2, "{outcomes}");
        for _ in 0..3 {
            let answer = submit("five").await;
            let problem = answer.problem(429);
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .contains("max_queues = 3"),
                "{problem}"
            );
            assert_eq!(answer.header("retry-after"), "", "waiting does not help");
        }
        // The operator's own has its place, whatever others have made.
        assert_eq!(
            gateway.post("/enqueue", json!({"goal": "g"})).await.status,
            202
        );
        let task = json!({"description": "a thing"});
        assert_eq!(gateway.post("/tasks", task).await.status, 202);
        assert_eq!(submit("two").await.status, 202);
        // Asking makes none.
        for path in [
            "/api/v1/jobs?queue=six",
            "/api/v1/jobs/seven.0.000000000000000000000000000",
        ] {
            gateway.get(path).await;
        }
        drop(
            gateway
                .request("GET", "/api/v1/events?queue=eight")
                .send()
                .await
                .unwrap(),
        );
        let queues = gateway.get("/api/v1/queues").await.json();
        assert_eq!(queues.as_array().unwrap().len(), 4, "{queues}");
        gateway.running.drain().await;
    }
}
