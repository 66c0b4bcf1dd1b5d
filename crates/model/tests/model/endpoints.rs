//! Endpoints that are busy, broken, or take less than they say.

use std::time::Duration;

use mesh_model::{Error, Model, ModelKeys, wire::Message};
use serde_json::json;
use tokio::time::Instant;

use testkit::model_endpoint::{ModelEndpoint, http, says};

use crate::support::{CollectingSink, Lookup, keys, model, question, refuses};

#[tokio::test]
async fn an_overloaded_endpoint_is_asked_again_when_it_says() {
    let busy = http("429 Too Many Requests", "retry-after: 1\r\n", "slow down");
    let server = ModelEndpoint::scripted(vec![busy, says("Yes.")]).await;
    let began = Instant::now();
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap();
    assert_eq!(reply.text, "Yes.");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_is_final_and_a_failure_ends_after_the_attempts() {
    let refusal = http("401 Unauthorized", "", "bad key");
    let once = ModelEndpoint::scripted(vec![refusal, says("never")]).await;
    let error = model(&once)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected { status: 401, .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"));
    assert_eq!(once.count(), 1);

    let down = http("503 Service Unavailable", "retry-after: 0\r\n", "");
    let server = ModelEndpoint::scripted(vec![down; 3]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_asked_for_again_unless_a_reader_has_text_of_it() {
    let head = "content-type: text/event-stream\r\n";
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"Ye\"}}]}\n\n";
    for body in [
        "",
        "data: {\"choices\":[{\"delta\":{}}]}\n\n",
        ": hi\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Ye",
        "data: upstream timeout\n\n",
        "event: error\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n",
        "{\"choices\":[{\"mess",
        half,
    ] {
        let server = ModelEndpoint::scripted(vec![http("200 OK", head, body), says("Yes.")]).await;
        let reply = model(&server)
            .converse(question(), &Lookup::new(), &())
            .await;
        assert_eq!(reply.unwrap().text, "Yes.", "{body}");
    }

    // Lost once all is said: the body is shorter than its head promises.
    let head_of_more = "content-type: text/event-stream\r\ncontent-length: 9999\r\n";
    let over =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Yes.\"},\"finish_reason\":\"stop\"}]}\n\n";
    let complete = ModelEndpoint::scripted(vec![http("200 OK", head_of_more, over)]).await;
    let reply = model(&complete)
        .converse(question(), &Lookup::new(), &())
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");

    let server = ModelEndpoint::scripted(vec![http("200 OK", head, half), says("Yes.")]).await;
    let heard = CollectingSink::default();
    let error = model(&server)
        .converse(question(), &Lookup::new(), &heard)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert_eq!(heard.0.lock().concat(), "Ye");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_left_out_and_stays_left_out() {
    let server = ModelEndpoint::scripted(vec![
        refuses(
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_tokens",
        ),
        refuses(
            "'temperature' does not support 0 with this model.",
            "temperature",
        ),
        http(
            "422 Unprocessable Entity",
            "",
            r#"{"detail":[{"loc":["body","stream_options"]}]}"#,
        ),
        refuses(
            "Your organization must be verified to stream this model.",
            "stream",
        ),
        says("Yes."),
        says("No."),
        says("Maybe."),
    ])
    .await;
    // The parameters that are left out do not count as attempts.
    let one = Model::new(ModelKeys {
        model_attempts: 1,
        ..keys(&server)
    });
    let one = one.unwrap();
    let ask = async |model: &Model, text: &str| {
        let messages = vec![Message::user(text)];
        model.converse(messages, &Lookup::new(), &()).await.unwrap()
    };
    assert_eq!(ask(&one, "one").await.text, "Yes.");
    assert_eq!(ask(&one, "two").await.text, "No.");
    // Another model of the process at the same endpoint knows it too.
    assert_eq!(ask(&model(&server), "three").await.text, "Maybe.");
    let asked = server.requests.lock();
    assert_eq!(asked.len(), 7);
    assert_eq!(asked[0].1["max_tokens"], 100);
    for (_, body) in &asked[4..] {
        let names: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            ["max_completion_tokens", "messages", "model", "tools"]
        );
        assert_eq!(body["max_completion_tokens"], 100);
    }
}

#[tokio::test]
async fn a_parameter_that_is_refused_once_more_is_a_refusal() {
    let refusal = refuses("no max_tokens and no temperature", "");
    let server = ModelEndpoint::scripted(vec![refusal; 9]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Rejected { status: 400, .. }),
        "{error}"
    );
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn keys_choose_what_a_request_has() {
    let server = ModelEndpoint::scripted(vec![says("Yes."), says("Yes.")]).await;
    for (limit, temperature) in [("max_completion_tokens", None), ("none", Some(0.5))] {
        let model = Model::new(ModelKeys {
            model_max_tokens_name: limit.to_owned(),
            model_temperature: temperature,
            model_omit: vec!["stream_options".to_owned()],
            ..keys(&server)
        });
        let asked = model.unwrap();
        asked
            .converse(question(), &Lookup::new(), &())
            .await
            .unwrap();
    }
    let asked = server.requests.lock();
    let has = |index: usize, name: &str| asked[index].1.get(name).is_some();
    assert!(has(0, "max_completion_tokens") && !has(0, "max_tokens") && !has(0, "temperature"));
    assert!(!has(1, "max_completion_tokens") && !has(1, "max_tokens"));
    assert_eq!(asked[1].1["temperature"], 0.5);
    assert!(has(0, "stream") && !has(0, "stream_options"));
}

#[tokio::test]
async fn retry_after_holds_off_every_caller() {
    let busy = http("429 Too Many Requests", "retry-after: 2\r\n", "slow down");
    let server = ModelEndpoint::scripted(vec![busy, says("Yes.")]).await;
    let one = Model::new(ModelKeys {
        model_attempts: 1,
        ..keys(&server)
    });
    let error = one.unwrap().converse(question(), &Lookup::new(), &()).await;
    assert!(matches!(error, Err(Error::RetryAfter(..))), "{error:?}");
    let hasty = Model::new(ModelKeys {
        model_timeout: Duration::from_millis(500),
        ..keys(&server)
    });
    let began = Instant::now();
    let error = hasty
        .unwrap()
        .converse(question(), &Lookup::new(), &())
        .await;
    assert!(error.unwrap_err().to_string().contains("Retry-After"));
    assert_eq!(server.count(), 1);
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");
    assert!(
        began.elapsed() > Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_or_count_is_understood() {
    let body = json!({"choices": [{"message": {"role": "assistant", "content": "Whole."},
        "finish_reason": "length"}]});
    let whole = http(
        "200 OK",
        "content-type: application/json\r\n",
        &body.to_string(),
    );
    let server = ModelEndpoint::scripted(vec![whole]).await;
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap();
    assert_eq!(
        (&*reply.text, reply.truncated, reply.usage.estimated),
        ("Whole.", true, true)
    );
    assert!(reply.usage.prompt_tokens > 0);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_given_up() {
    let server = ModelEndpoint::scripted(vec![says(&"x".repeat(20_000))]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("model_max_bytes"), "{error}");
}
