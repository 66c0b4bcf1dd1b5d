//! A server outside the mesh, within the test, which answers what the test says.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request: its path and its body.
pub type Request = (String, String);

/// A server.
#[derive(Debug)]
pub struct WebServer {
    /// Its base URL, without a slash at the end.
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

impl WebServer {
    /// Answers each request with a status and a body, by its path and how many came for that path before.
    pub async fn start(
        mut answer: impl FnMut(&str, usize) -> (u16, String) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                // A client may be gone before it has asked.
                let Some((path, body)) = read(&mut stream).await else {
                    continue;
                };
                let before = seen.lock().iter().filter(|(of, _)| *of == path).count();
                let (status, text) = answer(&path, before);
                seen.lock().push((path, body));
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {status} As-Told\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
                );
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self {
            url: format!("http://{address}"),
            requests,
            _tasks: tasks,
        }
    }

    /// What it was asked for, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let lower = head.to_lowercase();
    let length = lower.split_once("content-length: ").map(|(_, rest)| rest);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, String::from_utf8(body).ok()?))
}
