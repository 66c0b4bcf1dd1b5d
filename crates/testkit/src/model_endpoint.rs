//! An OpenAI-compatible endpoint within the test, which answers what the test says.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
};

/// Where an answer waits for [`ModelEndpoint::go_on`].
pub const WAIT: &str = ": wait";
/// The tokens, sent and written, that an answer of [`says`] counts.
pub const SAYS_TOKENS: (u64, u64) = (10, 3);
/// The tokens, sent and written, that an answer of [`calls`] counts.
pub const CALLS_TOKENS: (u64, u64) = (20, 5);

/// One request: its head in small letters, and its body.
pub type Request = (String, Value);

/// A server that speaks the documented form.
#[derive(Debug)]
pub struct ModelEndpoint {
    /// Its base URL.
    pub url: String,
    /// What it was asked.
    pub requests: Arc<Mutex<Vec<Request>>>,
    /// Lets an answer go on that waits in its middle.
    pub go_on: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl ModelEndpoint {
    /// Answers one request after the other with the next of these answers, and then none.
    pub async fn scripted(answers: Vec<String>) -> Self {
        let mut answers = VecDeque::from(answers);
        Self::start(move |_| answers.pop_front()).await
    }

    /// Answers each request by what it says; without an answer, the connection is closed.
    pub async fn start(mut answer: impl FnMut(&Value) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let go_on = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let (seen, waits) = (requests.clone(), go_on.clone());
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("a text").to_lowercase();
                let (_, length) = head.split_once("content-length: ").expect("a length");
                let length = length.lines().next().map(str::parse);
                let mut body = vec![0; length.expect("a length").expect("a number")];
                stream.read_exact(&mut body).await.expect("a body");
                let body = serde_json::from_slice(&body).expect("JSON");
                let Some(answer) = answer(&body) else {
                    continue;
                };
                seen.lock().push((head, body));
                for (number, part) in answer.split(WAIT).enumerate() {
                    if number > 0 {
                        waits.notified().await;
                    }
                    // In pieces, so that events are cut in their middle. A caller may have left.
                    for piece in part.as_bytes().chunks(37) {
                        stream.write_all(piece).await.ok();
                    }
                }
            }
        });
        Self {
            url: format!("http://{address}/v1"),
            requests,
            go_on,
            _tasks: tasks,
        }
    }

    /// How many requests were answered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.lock().len()
    }

    /// The messages of all requests, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let requests = self.requests.lock();
        let messages = requests
            .iter()
            .filter_map(|(_, body)| body["messages"].as_array());
        messages.flatten().cloned().collect()
    }
}

/// Whether a request has the result of a function that was called.
#[must_use]
pub fn has_result(request: &Value) -> bool {
    let messages = request["messages"].as_array().into_iter().flatten();
    messages
        .into_iter()
        .any(|message| message["role"] == "tool")
}

/// An answer over HTTP; the end of the connection ends its body.
#[must_use]
pub fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n{body}")
}

/// An answer that streams these events and is complete.
#[must_use]
pub fn stream(events: &[Value]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let body = format!("{events}data: [DONE]\n\n");
    http("200 OK", "content-type: text/event-stream\r\n", &body)
}

/// An answer that is a text, in two pieces.
#[must_use]
pub fn says(text: &str) -> String {
    let middle = (0..=text.len() / 2)
        .rev()
        .find(|at| text.is_char_boundary(*at));
    let (first, rest) = text.split_at(middle.unwrap_or(0));
    stream(&[
        json!({"choices": [{"delta": {"role": "assistant", "content": first}}]}),
        json!({"choices": [{"delta": {"content": rest}, "finish_reason": "stop"}]}),
        usage(SAYS_TOKENS),
    ])
}

/// An answer that calls functions, each with the text of its arguments in two pieces. Their ids are
/// `c7`, `c8` and so on.
#[must_use]
pub fn calls(all: &[(&str, &str)]) -> String {
    let mut events = Vec::new();
    for (index, (name, arguments)) in all.iter().enumerate() {
        let (first, rest) = arguments.split_at(arguments.len().min(3));
        let piece = |id: Value, name: Value, arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            let call = json!({"index": index, "id": id, "function": function});
            json!({"choices": [{"delta": {"tool_calls": [call]}}]})
        };
        events.push(piece(json!(format!("c{}", index + 7)), json!(name), first));
        events.push(piece(Value::Null, Value::Null, rest));
    }
    events.push(json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}));
    events.push(usage(CALLS_TOKENS));
    stream(&events)
}

fn usage((sent, written): (u64, u64)) -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": sent, "completion_tokens": written}})
}
