//! Tasks cross the eras.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use serde_json::{Value, json};
use testkit::until;

use crate::kit::{Small, text_of};

const SOON: Duration = Duration::from_secs(10);

fn can(tasks: bool) -> Value {
    let mut can = json!({"elicitation": {}});
    if tasks {
        can["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
    }
    can
}

async fn get(small: &Small, task: &Value) -> Value {
    let told = small
        .modern(can(true), "tasks/get", json!({"taskId": task}))
        .await;
    told[0].clone()
}

#[tokio::test]
async fn a_modern_client_polls_a_task_answers_it_and_gets_its_result() {
    for era in ["legacy", "modern"] {
        let registry = Arc::new(Memory::new());
        let small = Small::start_in(&registry, era, &[]).await;
        small.text("echo", &[]).await;
        let begun = small
            .modern(can(true), "tools/call", json!({"name": "task"}))
            .await;
        let task = &begun[0]["result"];
        assert_eq!(task["resultType"], "task", "{era}: {begun:?}");
        let id = &task["taskId"];
        let seen = until("it asks", SOON, async || {
            let seen = get(&small, id).await["result"].clone();
            (seen["status"] == "input_required").then_some(seen)
        })
        .await;
        assert_eq!(&seen["taskId"], id, "{era}");
        let (key, request) = seen["inputRequests"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap();
        assert_eq!(request["method"], "elicitation/create");
        // Any mount of the server answers about it.
        let other = Small::start_in(&registry, era, &[]).await;
        let mut update = json!({"taskId": id});
        update["inputResponses"][key] = json!({"action": "accept", "content": {"name": "Ann"}});
        let told = other.modern(can(true), "tasks/update", update).await;
        assert_eq!(
            told[0]["result"]["resultType"], "complete",
            "{era}: {told:?}"
        );
        let done = until("it is done", SOON, async || {
            let seen = get(&other, id).await["result"].clone();
            (seen["status"] == "completed").then_some(seen)
        })
        .await;
        assert_eq!(
            done["result"]["content"][0]["text"], "task hello Ann",
            "{era}: {done}"
        );
        let told = small
            .modern(can(true), "tasks/cancel", json!({"taskId": id}))
            .await;
        assert_eq!(
            told[0]["result"]["resultType"], "complete",
            "{era}: {told:?}"
        );
        let told = get(&small, &json!("nothing")).await;
        assert_eq!(told["error"]["code"], -32602, "{era}: {told}");
        // Who knows no tasks waits for the result, where the server lets it.
        let told = small
            .modern(can(false), "tools/call", json!({"name": "task"}))
            .await;
        match era {
            "modern" => assert_eq!(told[0]["error"]["code"], -32021, "{told:?}"),
            _ => assert_eq!(
                told[0]["result"]["resultType"], "input_required",
                "{told:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_legacy_client_waits_for_the_result_of_a_task() {
    for era in ["legacy", "modern"] {
        let small = Small::start(era, &[]).await;
        let mut session = small.session(can(false)).await;
        assert!(session.begun["capabilities"]["tasks"]["requests"]["tools"]["call"].is_object());
        let listed = session.ask(1, "tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap();
        let tool = tools.iter().find(|it| it["name"] == "task").unwrap();
        assert!(
            tool["execution"]["taskSupport"].is_string(),
            "{era}: {tool}"
        );
        let begun = session
            .ask(
                2,
                "tools/call",
                json!({"name": "task", "task": {"ttl": 60_000}}),
            )
            .await;
        let task = begun["result"]["task"].clone();
        assert_eq!(task["status"], "input_required", "{era}: {begun}");
        assert_eq!(task["ttl"], 60_000);
        session
            .request(3, "tasks/result", json!({"taskId": task["taskId"]}))
            .await;
        let (_, question) = session.next().await;
        assert_eq!(
            question["method"], "elicitation/create",
            "{era}: {question}"
        );
        let answer = json!({"action": "accept", "content": {"name": "Bob"}});
        session
            .send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}))
            .await;
        let (_, done) = session.next().await;
        assert_eq!(text_of(&done), "task hello Bob", "{era}");
        let of = &done["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"];
        assert_eq!(of, &task["taskId"]);
        let seen = session
            .ask(4, "tasks/get", json!({"taskId": task["taskId"]}))
            .await;
        assert_eq!(seen["result"]["status"], "completed", "{era}: {seen}");
        // Another client does not see it.
        if era == "legacy" {
            let mut other = small.session(can(false)).await;
            let told = other
                .ask(1, "tasks/get", json!({"taskId": task["taskId"]}))
                .await;
            assert_eq!(told["error"]["code"], -32602);
        }
    }
}
