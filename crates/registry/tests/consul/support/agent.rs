//! A registry of a test's own.

use std::{net::SocketAddr, time::Duration};

use mesh_registry::RegistryServer;
use testkit::until;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

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
        until("a closed port", Duration::from_secs(5), async || {
            TcpStream::connect(self.address).await.err()
        })
        .await;
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        let listener = until("its port", Duration::from_secs(10), async || {
            let socket = TcpSocket::new_v4().expect("a socket");
            // Connections that were cut still hold the port.
            socket.set_reuseaddr(true).expect("a new socket");
            let bound = socket.bind(self.address);
            bound.and_then(|()| socket.listen(1024)).ok()
        })
        .await;
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
