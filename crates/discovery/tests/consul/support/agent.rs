//! A real Consul of a test's own.

use testkit::{Consul, consul::MASTER, http_client};

/// A development agent on ports of its own. Dropping it kills it.
pub(crate) struct Agent(Consul);

impl Agent {
    /// Starts one and waits until it serves.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more configuration, in HCL.
    pub(crate) async fn start_with(hcl: &[&str]) -> Self {
        Self(Consul::start_with(hcl).await)
    }

    /// Its HTTP address as `host:port`.
    pub(crate) fn address(&self) -> String {
        self.0.http().to_string()
    }

    /// Kills it without a word: it forgets everything.
    pub(crate) async fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        self.0.restart().await;
    }

    /// PUTs to its API and expects success.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        http_client::put(&self.url(path), body.to_owned()).await;
    }

    /// PUTs to its API with the test's own master token, and gives the answer.
    pub(crate) async fn ask(&self, path: &str, body: &str) -> serde_json::Value {
        let sent = reqwest::Client::new().put(self.url(path));
        let sent = sent.header("X-Consul-Token", MASTER).body(body.to_owned());
        let text = sent.send().await.expect("it runs").text().await;
        let text = text.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/{path}", self.address())
    }
}
