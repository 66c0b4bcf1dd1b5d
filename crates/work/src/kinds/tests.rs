use jobs::{Schedule, Timer};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_payload_that_will_not_do_is_refused_at_the_field_at_fault() {
    let table = [
        ("fly", json!({}), "kind"),
        ("call", json!([]), "payload"),
        ("call", json!({"method": "a.B/C", "payload": {}}), "service"),
        (
            "call",
            json!({"service": "", "method": "a.B/C", "payload": {}}),
            "service",
        ),
        (
            "call",
            json!({"service": "agent-echo", "method": "C", "payload": {}}),
            "method",
        ),
        (
            "call",
            json!({"service": "agent-echo", "method": "/a.B/C", "payload": {}}),
            "method",
        ),
        (
            "call",
            json!({"service": "agent-echo", "method": "a.B/C"}),
            "payload",
        ),
        (
            "call",
            json!({"service": "agent-echo", "method": "a.B/C", "payload": 7}),
            "payload",
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "bytes_base64": "%"}),
            "bytes_base64",
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "payload": {}, "bytes_base64": ""}),
            "bytes_base64",
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "payload": {}, "metadata": {"Bad Key": "x"}}),
            "metadata.Bad Key",
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "payload": {}, "metadata": {"grpc-timeout": "1S"}}),
            "metadata.grpc-timeout",
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "payload": {}, "x": 1}),
            "x",
        ),
        ("http", json!({}), "url"),
        ("http", json!({"url": "ftp://host/"}), "url"),
        ("http", json!({"url": "http://user:pass@host/"}), "url"),
        ("http", json!({"url": "/relative"}), "url"),
        (
            "http",
            json!({"url": "http://h/", "method": "GE T"}),
            "method",
        ),
        (
            "http",
            json!({"url": "http://h/", "method": "CONNECT"}),
            "method",
        ),
        (
            "http",
            json!({"url": "http://h/", "headers": {"a b": "c"}}),
            "headers.a b",
        ),
        (
            "http",
            json!({"url": "http://h/", "headers": {"a": "c\n"}}),
            "headers.a",
        ),
        (
            "http",
            json!({"url": "http://h/", "headers": {"Host": "c"}}),
            "headers.Host",
        ),
        ("http", json!({"url": "http://h/", "timeout": 0}), "timeout"),
        (
            "http",
            json!({"url": "http://h/", "timeout": 31}),
            "timeout",
        ),
        (
            "pipeline",
            json!({"goal": " ", "run_id": "run-abcdefgh"}),
            "goal",
        ),
        (
            "pipeline",
            json!({"goal": "g", "run_id": "../../etc"}),
            "run_id",
        ),
        (
            "task",
            json!({"description": "", "subtasks": []}),
            "description",
        ),
        (
            "task",
            json!({"description": "d", "subtasks": []}),
            "subtasks",
        ),
        (
            "task",
            json!({"description": "d", "subtasks": [{"subtask_id": "s"}]}),
            "subtasks[0].description",
        ),
        (
            "task",
            json!({"description": "d", "subtasks": [
                {"subtask_id": "s", "description": "a"},
                {"subtask_id": "s", "description": "b"},
            ]}),
            "subtasks[1].subtask_id",
        ),
    ];
    for (kind, payload, field) in table {
        let read = super::kind(kind).and_then(|row| row.read(&payload));
        let error = read.expect_err(&payload.to_string());
        assert_eq!(error.field, field, "{payload}: {error}");
    }
}

#[test]
fn a_payload_reads_back_from_its_job_as_it_was() {
    let payloads = [
        (
            "call",
            json!({"service": "agent-echo", "method": "a.B/C", "payload": {"input": "x"}}),
        ),
        (
            "call",
            json!({"service": "s", "method": "a.B/C", "bytes_base64": "AAE="}),
        ),
        ("http", json!({"url": "https://example.org/"})),
        ("pipeline", json!({"goal": "g", "run_id": "run-abcdefgh"})),
        (
            "task",
            json!({"description": "d", "subtasks": [{"subtask_id": "s", "description": "a"}]}),
        ),
    ];
    for (name, payload) in payloads {
        let row = kind(name).unwrap();
        let job = row.read(&payload).unwrap();
        assert_eq!(job.kind, name);
        let value: Value = serde_json::from_slice(job.payload.bytes()).unwrap();
        assert_eq!(row.read(&value).unwrap().payload, job.payload);
    }
}

#[test]
fn the_guides_list_every_kind_as_the_table_says_it() {
    let jobs = include_str!("../../../../docs/guide/jobs.md");
    let runner = include_str!("../../../../docs/guide/runner.md");
    for KindRow {
        name, description, ..
    } in KINDS
    {
        let Description {
            does,
            payload,
            result,
            retried,
            dead,
            example,
        } = description;
        let row = format!("| `{name}` | {does} | {payload} |\n");
        assert!(jobs.contains(&row), "docs/guide/jobs.md lacks: {row}");
        let row = format!("| `{name}` | {result} | {retried} | {dead} |\n").replace("  ", " ");
        assert!(runner.contains(&row), "docs/guide/runner.md lacks: {row}");
        let example: Value = serde_json::from_str(example).unwrap();
        assert_eq!(example["kind"], **name);
    }
}

fn fired(kind: &str, payload: Value, key: &str) -> Value {
    let timer = Timer::new("t", Schedule::Every(1_000), kind, payload);
    let job = timer_job(&timer, key).unwrap();
    serde_json::from_slice(job.payload.bytes()).unwrap()
}

#[test]
fn each_firing_is_a_run_of_its_own_and_the_same_one_for_whoever_fires_it() {
    let goal = json!({"goal": "How does a router drain?"});
    let one = fired("pipeline", goal.clone(), "timer/t/1");
    assert_eq!(one, fired("pipeline", goal.clone(), "timer/t/1"));
    let two = fired("pipeline", goal, "timer/t/2");
    assert_eq!(one["goal"], two["goal"]);
    assert_ne!(one["run_id"], two["run_id"]);
    let named = json!({"goal": "g", "run_id": "nightly"});
    let (one, two) = (
        fired("pipeline", named.clone(), "timer/t/1"),
        fired("pipeline", named, "timer/t/2"),
    );
    assert_ne!(one["run_id"], two["run_id"]);
    assert!(one["run_id"].as_str().unwrap().starts_with("nightly-"));
}

#[test]
fn a_description_is_split_into_parts() {
    let task = fired("task", json!({"description": "Plan it, then test it"}), "k");
    assert_eq!(task["subtasks"].as_array().unwrap().len(), 2);
    let given = json!({"description": "d", "subtasks": [{"subtask_id": "s", "description": "d"}]});
    assert_eq!(fired("task", given.clone(), "k"), given);
}

#[test]
fn what_a_timer_says_of_its_jobs_holds_for_each() {
    let mut timer = Timer::new(
        "t",
        Schedule::Every(1_000),
        "pipeline",
        json!({"goal": "g"}),
    );
    (timer.priority, timer.queue) = (5, "slow".to_owned());
    let job = timer_job(&timer, "k").unwrap();
    assert_eq!((job.priority, job.queue.as_str()), (5, "slow"));
    let bad = Timer::new(
        "t",
        Schedule::Every(1_000),
        "pipeline",
        json!({"gaol": "g"}),
    );
    assert!(timer_job(&bad, "k").is_err());
}
