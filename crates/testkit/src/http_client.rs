//! Plain HTTP, for the APIs of Consul, Jaeger, HAProxy and the admin listeners.

use std::time::Duration;

use serde_json::Value;

/// No answer of theirs takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn client() -> reqwest::Client {
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
    let answer = client().put(url).body(body).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("PUT {url}: {error}"));
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    assert!(status.is_success(), "PUT {url}: {status} {body}");
}

/// DELETEs something and expects success.
pub async fn delete(url: &str) {
    let answer = client().delete(url).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("DELETE {url}: {error}"));
    let status = answer.status();
    assert!(status.is_success(), "DELETE {url}: {status}");
}
