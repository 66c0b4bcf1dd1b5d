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
    Model::new(Settings {
        url: server.url.clone(),
        name: "small".to_owned(),
        api_key: Some("hunter2".to_owned()),
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(2),
        attempts: 3,
        rounds: 3,
        max_tokens: 100,
        max_bytes: 10_000,
        cache_bytes: 100_000,
    })
    .unwrap()
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
async fn a_stream_that_breaks_off_is_asked_for_again_only_if_nothing_was_told() {
    let head = "content-type: text/event-stream\r\n";
    let silent = http("200 OK", head, "data: {\"choices\":[{\"delta\":{}}]}\n\n");
    let first = server(vec![silent, says("Yes.")]).await;
    let reply = model(&first)
        .converse(question(), &Lookup::new(), &())
        .await
        .unwrap();
    assert_eq!(reply.text, "Yes.");

    let half = http(
        "200 OK",
        head,
        "data: {\"choices\":[{\"delta\":{\"content\":\"Ye\"}}]}\n\n",
    );
    let server = server(vec![half, says("Yes.")]).await;
    let heard = Heard::default();
    let error = model(&server)
        .converse(question(), &Lookup::new(), &heard)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Away(_)), "{error}");
    assert_eq!(heard.0.lock().concat(), "Ye");
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
async fn a_model_that_only_calls_functions_is_stopped() {
    let rounds = (0..3)
        .map(|n| calls(&format!(r#"{{"word":"{n}"}}"#)))
        .collect();
    let server = server(rounds).await;
    let lookup = Lookup::new();
    let error = model(&server)
        .converse(question(), &lookup, &())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Rounds(3)), "{error}");
    assert_eq!(lookup.called.lock().len(), 2);
    assert!(server.asked.lock()[2].1.get("tools").is_none());
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
