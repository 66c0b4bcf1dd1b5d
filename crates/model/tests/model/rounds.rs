//! Rounds of questions and calls of functions.

use std::sync::Arc;

use mesh_model::{Error, TextSink};
use serde_json::{Value, json};
use tokio::sync::Notify;

use testkit::model_endpoint::{ModelEndpoint, WAIT, http, says, stream};

use crate::support::{CollectingSink, Lookup, calls, model, question, refuses};

#[tokio::test]
async fn functions_are_called_and_the_answer_streams_and_is_remembered() {
    let server =
        ModelEndpoint::scripted(vec![calls(r#"{"word":"mesh"}"#), says("It is a router.")]).await;
    let (model, lookup, heard) = (model(&server), Lookup::new(), CollectingSink::default());
    let reply = model.converse(question(), &lookup, &heard).await.unwrap();
    assert_eq!(reply.text, "It is a router.");
    assert_eq!(heard.0.lock().concat(), reply.text);
    assert_eq!(*lookup.called.lock(), [r#"lookup {"word":"mesh"}"#]);
    let usage = reply.usage;
    assert_eq!(
        (usage.requests, usage.cache_hits, usage.function_calls),
        (2, 0, 1)
    );
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (30, 8));
    assert!(!usage.estimated);
    {
        let asked = server.requests.lock();
        assert!(
            asked[0].0.starts_with("post /v1/chat/completions "),
            "{}",
            asked[0].0
        );
        assert!(asked[0].0.contains("authorization: bearer hunter2"));
        let body = &asked[0].1;
        assert_eq!(
            (&body["model"], &body["stream"]),
            (&json!("small"), &json!(true))
        );
        assert_eq!(body["tools"][0]["function"]["name"], "lookup");
        let messages = asked[1].1["messages"].as_array().unwrap();
        assert_eq!(messages[2]["tool_calls"][0]["id"], "c7");
        assert_eq!(
            messages[3],
            json!({"role": "tool", "tool_call_id": "c7", "content": "a router"})
        );
    }
    // The server has no more answers: these come from the cache.
    let again = model.converse(question(), &lookup, &()).await.unwrap();
    assert_eq!((again.text, again.usage.cache_hits), (reply.text, 2));
    assert_eq!(again.usage.prompt_tokens, 0);
}

#[tokio::test]
async fn calls_without_ids_get_their_own_and_arguments_go_back_as_objects() {
    let call = |arguments: Value| json!({"function": {"name": "lookup", "arguments": arguments}});
    let pieces = [call(json!({"word": "a"})), call(json!("not an object"))];
    let server = ModelEndpoint::scripted(vec![
        stream(&[
            json!({"choices": [{"delta": {"content": "", "tool_calls": pieces},
            "finish_reason": "tool_calls"}]}),
        ]),
        says("Yes."),
    ])
    .await;
    let lookup = Lookup::new();
    model(&server)
        .converse(question(), &lookup, &())
        .await
        .unwrap();
    assert_eq!(
        *lookup.called.lock(),
        [r#"lookup {"word":"a"}"#, "lookup not an object"]
    );
    let asked = server.requests.lock();
    let messages = asked[1].1["messages"].as_array().unwrap();
    assert_eq!(messages[2]["content"], Value::Null);
    let calls = messages[2]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"]["arguments"], r#"{"word":"a"}"#);
    assert_eq!(calls[1]["function"]["arguments"], "{}");
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    for (call, result) in calls.iter().zip(&messages[3..]) {
        assert_eq!(call["id"], result["tool_call_id"]);
    }
}

#[tokio::test]
async fn reasoning_goes_back_only_to_an_endpoint_that_asks_for_them() {
    let thinks = json!({"choices": [{"delta": {"reasoning_content": "hm"}}]});
    let called = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c1",
        "function": {"name": "lookup", "arguments": "{}"}, "extra_content": {"google": {"s": "x"}}}]},
        "finish_reason": "tool_calls"}]});
    let server = ModelEndpoint::scripted(vec![
        stream(&[thinks, called]),
        refuses(
            "Missing `reasoning_content` field in the assistant message",
            "",
        ),
        says("<think>hm</think>Yes."),
    ])
    .await;
    let heard = CollectingSink::default();
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &heard)
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");
    assert_eq!(heard.0.lock().concat(), "Yes.");
    let asked = server.requests.lock();
    let message = |index: usize| &asked[index].1["messages"][2];
    assert!(message(1).get("reasoning_content").is_none());
    assert_eq!(message(2)["reasoning_content"], "hm");
    assert_eq!(
        message(2)["tool_calls"][0]["extra_content"]["google"]["s"],
        "x"
    );
}

#[tokio::test]
async fn in_the_last_round_functions_are_there_and_may_not_be_called() {
    let round = |n| calls(&format!(r#"{{"word":"{n}"}}"#));
    let server = ModelEndpoint::scripted(vec![round(0), round(1), says("Yes.")]).await;
    let lookup = Lookup::new();
    let reply = model(&server).converse(question(), &lookup, &()).await;
    assert_eq!(reply.unwrap().text, "Yes.");
    let asked = server.requests.lock();
    assert!(asked[1].1.get("tool_choice").is_none());
    assert_eq!(asked[2].1["tool_choice"], "none");
    assert_eq!(asked[2].1["tools"], asked[0].1["tools"]);
}

#[tokio::test]
async fn a_model_that_only_calls_functions_is_shown_none_and_then_stopped() {
    let rounds = |count| (0..count).map(|n| calls(&format!(r#"{{"word":"{n}"}}"#)));
    let stubborn = ModelEndpoint::scripted(rounds(3).chain([says("Yes.")]).collect()).await;
    let reply = model(&stubborn)
        .converse(question(), &Lookup::new(), &())
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");
    assert!(stubborn.requests.lock()[3].1.get("tools").is_none());

    let server = ModelEndpoint::scripted(rounds(4).collect()).await;
    let lookup = Lookup::new();
    let error = model(&server)
        .converse(question(), &lookup, &())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooManyRounds(3)), "{error}");
    assert_eq!(lookup.called.lock().len(), 2);
    assert_eq!(server.count(), 4);
}

struct Tells(Arc<Notify>);

#[async_trait::async_trait]
impl TextSink for Tells {
    async fn send(&self, _piece: &str) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn text_is_sent_on_before_the_answer_is_over() {
    let event = |text: &str, finish: Value| {
        let choice = json!({"delta": {"content": text}, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let (first, last) = (event("One ", Value::Null), event("two.", json!("stop")));
    let body = format!("{first}{WAIT}\n\n{last}data: [DONE]\n\n");
    let slow = http("200 OK", "content-type: text/event-stream\r\n", &body);
    let server = ModelEndpoint::scripted(vec![slow]).await;
    let tells = Tells(server.go_on.clone());
    // The server ends its answer only when the beginning was heard.
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &tells)
        .await
        .unwrap();
    assert_eq!(reply.text, "One two.");
}
