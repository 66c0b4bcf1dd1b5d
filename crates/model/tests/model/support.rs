//! A server that speaks the documented form, and a function to call.

use std::{sync::Arc, time::Duration};

use mesh_model::{
    Functions, Model, ModelOptions, TextSink,
    wire::{Function, Message},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
};

/// Answers one request after the other with the next of its answers, and keeps what was asked.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// Told of text by the test, where an answer waits for it in its middle.
    pub(crate) heard: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// Where an answer waits until its beginning was heard.
pub(crate) const WAIT: &str = ": wait";

pub(crate) async fn server(answers: Vec<String>) -> Server {
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

pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n{body}")
}

pub(crate) fn stream(events: &[Value]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let body = format!("{events}data: [DONE]\n\n");
    http("200 OK", "content-type: text/event-stream\r\n", &body)
}

pub(crate) fn says(text: &str) -> String {
    let (first, rest) = text.split_at(text.len() / 2);
    stream(&[
        json!({"choices": [{"delta": {"role": "assistant", "content": first}}]}),
        json!({"choices": [{"delta": {"content": rest}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 3}}),
    ])
}

pub(crate) fn calls(arguments: &str) -> String {
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

pub(crate) fn model(server: &Server) -> Model {
    Model::new(settings(server)).unwrap()
}

pub(crate) fn settings(server: &Server) -> ModelOptions {
    ModelOptions {
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
pub(crate) struct Lookup {
    pub(crate) offered: Vec<Function>,
    pub(crate) called: Mutex<Vec<String>>,
}

impl Lookup {
    pub(crate) fn new() -> Self {
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
    fn definitions(&self) -> &[Function] {
        &self.offered
    }

    async fn call(&self, name: &str, arguments: &str) -> String {
        self.called.lock().push(format!("{name} {arguments}"));
        "a router".to_owned()
    }
}

#[derive(Default)]
pub(crate) struct CollectingSink(pub(crate) Mutex<Vec<String>>);

#[async_trait::async_trait]
impl TextSink for CollectingSink {
    async fn send(&self, piece: &str) {
        self.0.lock().push(piece.to_owned());
    }
}

pub(crate) fn question() -> Vec<Message> {
    vec![Message::system("You answer."), Message::user("What is it?")]
}

pub(crate) fn refuses(text: &str, param: &str) -> String {
    let error = json!({"error": {"message": text, "param": param}});
    http("400 Bad Request", "", &error.to_string())
}
