//! What is wrong with a request is told in words for people, not in those of the program's types.

use serde_json::{Value, json};

use crate::support::{call_job, embedded, read};

/// Words that say something to those who know the program only.
const FOREIGN: [&str; 18] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "usize",
    "f64",
    "invalid type",
    "invalid value",
    "invalid digit",
    "unit variant",
    "newtype",
    "struct",
    "serde",
    "missing field",
    "unknown field",
    "Option",
];

fn plain(text: &str) {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        parts.map(str::to_owned).collect()
    };
    let said = words(text);
    for foreign in FOREIGN.map(words) {
        let has = said.windows(foreign.len()).any(|part| *part == foreign);
        assert!(!has, "{foreign:?}: {text}");
    }
}

#[tokio::test]
async fn no_refusal_speaks_of_types_of_the_program() {
    let gateway = embedded(&[]).await;
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(300),
        json!(u64::MAX),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([1]),
        json!({}),
        json!({"a": 1}),
    ];
    let mut refused = 0;
    for (path, whole, fields) in [
        (
            "/api/v1/jobs",
            call_job(),
            &[
                "kind",
                "service",
                "method",
                "payload",
                "bytes_base64",
                "metadata",
                "queue",
                "priority",
                "delay_ms",
                "timeout_ms",
                "max_attempts",
                "idempotency_key",
                "more",
            ][..],
        ),
        (
            "/jobs",
            json!({"url": "http://a"}),
            &["url", "method", "headers", "body", "timeout", "more"],
        ),
        ("/enqueue", json!({"goal": "g"}), &["goal"]),
        (
            "/tasks",
            json!({"description": "d"}),
            &["description", "priority"],
        ),
    ] {
        for field in fields {
            for value in &wrong {
                let mut body: Value = whole.clone();
                body[*field] = value.clone();
                let answer = gateway.post(path, body).await;
                plain(&answer.text);
                refused += usize::from(answer.status == 422);
            }
        }
        for value in &wrong {
            plain(&gateway.post(path, value.clone()).await.text);
        }
        plain(
            &gateway
                .post("/api/v1/jobs/batch", json!([whole, {"kind": 5}, 7]))
                .await
                .text,
        );
        for text in [
            "",
            "{",
            "{\"a\"",
            "[1,",
            "{} x",
            "\u{1}",
            "{\"priority\":1e999}",
            "nul",
        ] {
            let request = gateway
                .request("POST", path)
                .header("content-type", "application/json");
            let answer = read(request.body(text)).await;
            assert_eq!(answer.status, 422, "{text}");
            plain(&answer.text);
        }
    }
    assert!(refused > 100, "{refused}");
    for query in [
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=99999999999999999999",
        "status=%ff",
        "kind=5",
    ] {
        plain(&gateway.get(&format!("/api/v1/jobs?{query}")).await.text);
    }
    for (field, value, said) in [
        (
            "priority",
            json!("x"),
            "has to be a whole number from 1 to 5, not the string \"x\"",
        ),
        (
            "priority",
            json!(6),
            "has to be a whole number from 1 to 5, not the number 6",
        ),
        (
            "delay_ms",
            json!(-1),
            "has to be a whole number that is 0 or more, not the number -1",
        ),
        ("queue", json!(5), "has to be a string, not the number 5"),
        ("metadata", json!([1]), "has to be an object, not an array"),
    ] {
        let mut body = call_job();
        body[field] = value;
        let problem = gateway.post("/api/v1/jobs", body).await.problem(422);
        assert_eq!(problem["errors"], json!([{"field": field, "reason": said}]));
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn an_answer_in_json_ends_its_line() {
    let gateway = embedded(&[]).await;
    let accepted = gateway.post("/api/v1/jobs", call_job()).await;
    let id = accepted.json()["job_id"].as_str().unwrap().to_owned();
    let mut answers = vec![
        accepted,
        gateway.post("/enqueue", json!({"goal": "g"})).await,
        gateway.post("/api/v1/jobs", json!({})).await,
        gateway
            .post("/api/v1/jobs/batch", json!([call_job(), 7]))
            .await,
        read(gateway.request("DELETE", "/api/v1/jobs")).await,
    ];
    for path in [
        "/health",
        "/nowhere",
        "/api/v1/jobs",
        "/api/v1/queues",
        "/api/v1/services",
        "/api/v1/schedules",
        "/api/v1/openapi.json",
        &format!("/api/v1/jobs/{id}"),
        &format!("/jobs/{id}"),
        "/api/v1/jobs/none",
    ] {
        let answer = gateway.get(path).await;
        let length = answer.text.len().to_string();
        assert_eq!(answer.header("content-length"), length, "{path}");
        let head = read(gateway.request("HEAD", path)).await;
        assert_eq!(
            (head.status, head.text.as_str()),
            (answer.status, ""),
            "{path}"
        );
        answers.push(answer);
    }
    for answer in answers {
        assert!(answer.header("content-type").contains("json"), "{answer:?}");
        let line = answer.text.strip_suffix('\n').expect("a line");
        assert!(line.ends_with(['}', ']']), "{answer:?}");
    }
    gateway.running.drain().await;
}
