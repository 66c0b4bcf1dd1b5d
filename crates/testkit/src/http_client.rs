//! Plain HTTP, for the APIs of Consul, Jaeger, HAProxy and the admin listeners.

use std::time::Duration;

use serde_json::Value;

/// No answer of theirs takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("plain HTTP")
}

/// The status code and the body of a GET; `None` when nobody answers.
pub async fn get(url: &str) -> Option<(u16, String)> {
    let answer = client().get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// The JSON that a GET gives; `None` for anything else.
pub async fn json(url: &str) -> Option<Value> {
    let (code, body) = get(url).await?;
    (code == 200)
        .then(|| serde_json::from_str(&body).ok())
        .flatten()
}

/// PUTs a body and expects success.
pub async fn put(url: &str, body: String) {
    succeed(client().put(url).body(body), url).await;
}

/// POSTs a body and expects success.
pub async fn post(url: &str, body: String) {
    succeed(client().post(url).body(body), url).await;
}

/// DELETEs and expects success.
pub async fn delete(url: &str) {
    succeed(client().delete(url), url).await;
}

async fn succeed(request: reqwest::RequestBuilder, url: &str) {
    let answer = request.send().await;
    let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    assert!(status.is_success(), "{url}: {status} {body}");
}
