//! A registry of a test's own.

use std::{net::SocketAddr, time::Duration};

use mesh_registry::RegistryServer;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep},
};

/// A registry on a port of its own. Dropping it ends it.
pub(crate) struct Agent {
    address: SocketAddr,
    server: Option<RegistryServer>,
    http: reqwest::Client,
}

impl Agent {
    /// Starts one, which serves at once.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self {
            address: listener.local_addr().expect("bound"),
            server: Some(RegistryServer::start(listener, "test")),
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("plain HTTP"),
        }
    }

    /// Its HTTP address as `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends it without a word: its connections are cut, and it forgets everything.
    pub(crate) async fn kill(&mut self) {
        drop(self.server.take());
        let begun = Instant::now();
        while TcpStream::connect(self.address).await.is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it still listens");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        let begun = Instant::now();
        let listener = loop {
            let socket = TcpSocket::new_v4().expect("a socket");
            // What is left of the connections that were cut still has the port.
            socket.set_reuseaddr(true).expect("a new socket");
            match socket.bind(self.address).and_then(|()| socket.listen(1024)) {
                Ok(listener) => break listener,
                Err(error) => assert!(
                    begun.elapsed() < Duration::from_secs(10),
                    "its port is taken: {error}"
                ),
            }
            sleep(Duration::from_millis(20)).await;
        };
        self.server = Some(RegistryServer::start(listener, "test"));
    }

    /// PUTs to its API and expects success.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        let url = format!("http://{}/v1/{path}", self.address);
        let sent = self.http.put(url).body(body.to_owned()).send().await;
        let answer = sent.expect("it runs");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.expect("a body")
        );
    }
}
