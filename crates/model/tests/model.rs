//! A model's client against a server in this process that speaks the documented form.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{sync::Arc, time::Duration};

use mesh_model::{
    Error, Functions, Listener, Model, Settings,
    wire::{Function, Message},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
    time::Instant,
};

/// Answers one request after the other with the next of its answers, and keeps what was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Told of text by the test, where an answer waits for it in its middle.
    heard: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// Where an answer waits until its beginning was heard.
const WAIT: &str = ": wait";

async fn server(answers: Vec<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<(String, Value)>>>::default();
    let mut tasks = JoinSet::new();
    let seen = asked.clone();
    let heard = Arc::new(Notify::new());
    let told = heard.clone();
    tasks.spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length = length.lines().next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            seen.lock()
                .push((head, serde_json::from_slice(&body).unwrap()));
            for (number, part) in answer.split(WAIT).enumerate() {
                if number > 0 {
                    told.notified().await;
                }
                // In pieces, so that events are cut in their middle.
                for piece in part.as_bytes().chunks(37) {
                    stream.write_all(piece).await.unwrap();
                }
            }
        }
    });
    Server {
        url,
        asked,
        heard,
        _tasks: tasks,
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n{body}")
}

fn stream(events: &[Value]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let body = format!("{events}data: [DONE]\n\n");
    http("200 OK", "content-type: text/event-stream\r\n", &body)
}

fn says(text: &str) -> String {
    let (first, rest) = text.split_at(text.len() / 2);
    stream(&[
        json!({"choices": [{"delta": {"role": "assistant", "content": first}}]}),
        json!({"choices": [{"delta": {"content": rest}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 3}}),
    ])
}

fn calls(arguments: &str) -> String {
    let (first, rest) = arguments.split_at(3);
    let call = |id, name, arguments| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": id, "function": function}]}}]})
    };
    stream(&[
        call(json!("c7"), json!("lookup"), first),
        call(Value::Null, Value::Null, rest),
        json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5}}),
    ])
}

fn model(server: &Server) -> Model {
    Model::new(settings(server)).unwrap()
}

fn settings(server: &Server) -> Settings {
    Settings {
        url: server.url.clone(),
        name: "small".to_owned(),
        api_key: Some("hunter2".to_owned()),
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(2),
        attempts: 3,
        rounds: 3,
        max_tokens: 100,
        limit: "auto".to_owned(),
        temperature: Some(0.0),
        omit: Vec::new(),
        max_bytes: 10_000,
        cache_bytes: 100_000,
    }
}

#[derive(Debug)]
struct Lookup {
    offered: Vec<Function>,
    called: Mutex<Vec<String>>,
}

impl Lookup {
    fn new() -> Self {
        let offered = vec![Function {
            name: "lookup".to_owned(),
            description: "looks up".to_owned(),
            parameters: json!({"type": "object", "properties": {"word": {"type": "string"}}}),
        }];
        Self {
            offered,
            called: Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl Functions for Lookup {
    fn offered(&self) -> &[Function] {
        &self.offered
    }

    async fn call(&self, name: &str, arguments: &str) -> String {
        self.called.lock().push(format!("{name} {arguments}"));
        "a router".to_owned()
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Listener for Heard {
    async fn text(&self, piece: &str) {
        self.0.lock().push(piece.to_owned());
    }
}

fn question() -> Vec<Message> {
    vec![Message::system("You answer."), Message::user("What is it?")]
}

#[tokio::test]
async fn functions_are_called_and_the_answer_streams_and_is_remembered() {
    let server = server(vec![calls(r#"{"word":"mesh"}"#), says("It is a router.")]).await;
    let (model, lookup, heard) = (model(&server), Lookup::new(), Heard::default());
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
        let asked = server.asked.lock();
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
async fn an_overloaded_endpoint_is_asked_again_when_it_says() {
    let busy = http("429 Too Many Requests", "retry-after: 1\r\n", "slow down");
    let server = server(vec![busy, says("Yes.")]).await;
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
    let once = server(vec![refusal, says("never")]).await;
    let error = model(&once)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 401, .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"));
    assert_eq!(once.asked.lock().len(), 1);

    let down = http("503 Service Unavailable", "retry-after: 0\r\n", "");
    let server = server(vec![down; 3]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    assert_eq!(server.asked.lock().len(), 3);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_asked_for_again_unless_somebody_heard_it() {
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
        let server = server(vec![http("200 OK", head, body), says("Yes.")]).await;
        let reply = model(&server)
            .converse(question(), &Lookup::new(), &())
            .await;
        assert_eq!(reply.unwrap().text, "Yes.", "{body}");
    }

    // Lost once all is said: the body is shorter than its head promises.
    let head_of_more = "content-type: text/event-stream\r\ncontent-length: 9999\r\n";
    let over =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Yes.\"},\"finish_reason\":\"stop\"}]}\n\n";
    let complete = self::server(vec![http("200 OK", head_of_more, over)]).await;
    let reply = model(&complete)
        .converse(question(), &Lookup::new(), &())
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");

    let server = server(vec![http("200 OK", head, half), says("Yes.")]).await;
    let heard = Heard::default();
    let error = model(&server)
        .converse(question(), &Lookup::new(), &heard)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    assert_eq!(heard.0.lock().concat(), "Ye");
    assert_eq!(server.asked.lock().len(), 1);
}

fn refuses(text: &str, param: &str) -> String {
    let error = json!({"error": {"message": text, "param": param}});
    http("400 Bad Request", "", &error.to_string())
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_left_out_and_stays_left_out() {
    let server = server(vec![
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
    let one = Model::new(Settings {
        attempts: 1,
        ..settings(&server)
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
    let asked = server.asked.lock();
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
    let server = server(vec![refusal; 9]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 400, .. }),
        "{error}"
    );
    assert_eq!(server.asked.lock().len(), 3);
}

#[tokio::test]
async fn keys_choose_what_a_request_has() {
    let server = server(vec![says("Yes."), says("Yes.")]).await;
    for (limit, temperature) in [("max_completion_tokens", None), ("none", Some(0.5))] {
        let model = Model::new(Settings {
            limit: limit.to_owned(),
            temperature,
            omit: vec!["stream_options".to_owned()],
            ..settings(&server)
        });
        let asked = model.unwrap();
        asked
            .converse(question(), &Lookup::new(), &())
            .await
            .unwrap();
    }
    let asked = server.asked.lock();
    let has = |index: usize, name: &str| asked[index].1.get(name).is_some();
    assert!(has(0, "max_completion_tokens") && !has(0, "max_tokens") && !has(0, "temperature"));
    assert!(!has(1, "max_completion_tokens") && !has(1, "max_tokens"));
    assert_eq!(asked[1].1["temperature"], 0.5);
    assert!(has(0, "stream") && !has(0, "stream_options"));
}

#[tokio::test]
async fn an_endpoint_that_wants_quiet_is_left_alone_by_everybody() {
    let busy = http("429 Too Many Requests", "retry-after: 2\r\n", "slow down");
    let server = server(vec![busy, says("Yes.")]).await;
    let one = Model::new(Settings {
        attempts: 1,
        ..settings(&server)
    });
    let error = one.unwrap().converse(question(), &Lookup::new(), &()).await;
    assert!(matches!(error, Err(Error::Later(..))), "{error:?}");
    let hasty = Model::new(Settings {
        timeout: Duration::from_millis(500),
        ..settings(&server)
    });
    let began = Instant::now();
    let error = hasty
        .unwrap()
        .converse(question(), &Lookup::new(), &())
        .await;
    assert!(error.unwrap_err().to_string().contains("Retry-After"));
    assert_eq!(server.asked.lock().len(), 1);
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
async fn calls_without_ids_get_their_own_and_arguments_go_back_as_objects() {
    let call = |arguments: Value| json!({"function": {"name": "lookup", "arguments": arguments}});
    let pieces = [call(json!({"word": "a"})), call(json!("not an object"))];
    let server = server(vec![
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
    let asked = server.asked.lock();
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
async fn thoughts_go_back_only_to_an_endpoint_that_asks_for_them() {
    let thinks = json!({"choices": [{"delta": {"reasoning_content": "hm"}}]});
    let called = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c1",
        "function": {"name": "lookup", "arguments": "{}"}, "extra_content": {"google": {"s": "x"}}}]},
        "finish_reason": "tool_calls"}]});
    let server = server(vec![
        stream(&[thinks, called]),
        refuses(
            "Missing `reasoning_content` field in the assistant message",
            "",
        ),
        says("<think>hm</think>Yes."),
    ])
    .await;
    let heard = Heard::default();
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &heard)
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");
    assert_eq!(heard.0.lock().concat(), "Yes.");
    let asked = server.asked.lock();
    let message = |index: usize| &asked[index].1["messages"][2];
    assert!(message(1).get("reasoning_content").is_none());
    assert_eq!(message(2)["reasoning_content"], "hm");
    assert_eq!(
        message(2)["tool_calls"][0]["extra_content"]["google"]["s"],
        "x"
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
    let server = server(vec![whole]).await;
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap();
    assert_eq!(
        (&*reply.text, reply.cut, reply.usage.estimated),
        ("Whole.", true, true)
    );
    assert!(reply.usage.prompt_tokens > 0);
}

#[tokio::test]
async fn in_the_last_round_functions_are_there_and_may_not_be_called() {
    let round = |n| calls(&format!(r#"{{"word":"{n}"}}"#));
    let server = server(vec![round(0), round(1), says("Yes.")]).await;
    let lookup = Lookup::new();
    let reply = model(&server).converse(question(), &lookup, &()).await;
    assert_eq!(reply.unwrap().text, "Yes.");
    let asked = server.asked.lock();
    assert!(asked[1].1.get("tool_choice").is_none());
    assert_eq!(asked[2].1["tool_choice"], "none");
    assert_eq!(asked[2].1["tools"], asked[0].1["tools"]);
}

#[tokio::test]
async fn a_model_that_only_calls_functions_is_shown_none_and_then_stopped() {
    let rounds = |count| (0..count).map(|n| calls(&format!(r#"{{"word":"{n}"}}"#)));
    let heedless = server(rounds(3).chain([says("Yes.")]).collect()).await;
    let reply = model(&heedless)
        .converse(question(), &Lookup::new(), &())
        .await;
    assert_eq!(reply.unwrap().text, "Yes.");
    assert!(heedless.asked.lock()[3].1.get("tools").is_none());

    let server = server(rounds(4).collect()).await;
    let lookup = Lookup::new();
    let error = model(&server)
        .converse(question(), &lookup, &())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Rounds(3)), "{error}");
    assert_eq!(lookup.called.lock().len(), 2);
    assert_eq!(server.asked.lock().len(), 4);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_given_up() {
    let server = server(vec![says(&"x".repeat(20_000))]).await;
    let error = model(&server)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("model_max_bytes"), "{error}");
}

struct Tells(Arc<Notify>);

#[async_trait::async_trait]
impl Listener for Tells {
    async fn text(&self, _piece: &str) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn text_is_heard_before_the_answer_is_over() {
    let event = |text: &str, finish: Value| {
        let choice = json!({"delta": {"content": text}, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let (first, last) = (event("One ", Value::Null), event("two.", json!("stop")));
    let body = format!("{first}{WAIT}\n\n{last}data: [DONE]\n\n");
    let slow = http("200 OK", "content-type: text/event-stream\r\n", &body);
    let server = server(vec![slow]).await;
    let tells = Tells(server.heard.clone());
    // The server ends its answer only when the beginning was heard.
    let reply = model(&server)
        .converse(question(), &Lookup::new(), &tells)
        .await
        .unwrap();
    assert_eq!(reply.text, "One two.");
}
