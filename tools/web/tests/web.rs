//! The web tool as its callers see it, with a provider of our own in this process.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use agentkit::sources::WebSearchResults;
use proto::agentplatform::ToolResponse;
use testkit::clients::Tool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tonic::{Code, Status};

async fn web(settings: &[(&str, &str)]) -> Tool {
    Tool::start(&web_tool::SPEC, web_tool::build, settings).await
}

async fn search(tool: &Tool, query: &str) -> Result<ToolResponse, Status> {
    tool.try_call("", "web_search", &[("query", query)]).await
}

/// Answers every request with `answer`, and tells what was asked.
async fn provider(tasks: &mut JoinSet<String>, answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            asked.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    format!("http://{address}/search?q={{query}}&format=json")
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn it_is_off_until_both_keys_say_otherwise() {
    let url = ("web_search_url", "http://127.0.0.1:9/");
    for (settings, key) in [
        (vec![], "web_search_url"),
        (vec![url], "allow_external_requests"),
    ] {
        let tool = web(&settings).await;
        let status = search(&tool, "mesh").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            proto::error_info::read(&status).unwrap().metadata["key"],
            key
        );
        assert!(status.message().contains("ALLOW_EXTERNAL_REQUESTS=yes"));
        tool.running.drain().await;
    }
}

#[tokio::test]
async fn the_provider_is_asked_and_its_pages_are_told() {
    for (other, header) in [
        (None, "x-subscription-token"),
        (Some(("web_search_key_header", "x-own-key")), "x-own-key"),
    ] {
        let mut tasks = JoinSet::new();
        let body = r#"{"results":[{"url":"https://a.example/x","title":"A","content":"one"}]}"#;
        let url = provider(&mut tasks, http("200 OK", body)).await;
        let mut settings = vec![
            ("web_search_url", &*url),
            ("allow_external_requests", "yes"),
            ("external_allow_hosts", "127.0.0.1"),
            ("web_search_key", "hunter2"),
        ];
        settings.extend(other);
        let tool = web(&settings).await;
        let answer = search(&tool, "mesh & more").await.unwrap();
        assert!(answer.success, "{}", answer.error);
        let found: WebSearchResults = serde_json::from_str(&answer.result).unwrap();
        assert_eq!((&*found.provider, found.results.len()), ("127.0.0.1", 1));
        assert_eq!(found.results[0].url, "https://a.example/x");
        tool.assert_declared("web_search", &answer.result).await;
        let asked = tasks.join_next().await.unwrap().unwrap();
        assert!(
            asked.starts_with("GET /search?q=mesh%20%26%20more&format=json "),
            "{asked}"
        );
        let sent = format!("{header}: hunter2");
        assert!(asked.to_lowercase().contains(&sent), "{asked}");
        tool.running.drain().await;
    }
}

#[tokio::test]
async fn a_provider_that_fails_redirects_or_talks_nonsense_is_named() {
    let elsewhere =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let large = http("200 OK", &"x".repeat(2000));
    for (answer, expected) in [
        (http("429 Too Many", "slow down"), "429"),
        (elsewhere.to_owned(), "redirects"),
        (http("200 OK", "<html>"), "not JSON"),
        (http("200 OK", "{}"), "neither results"),
        (large, "web_search_max_bytes"),
    ] {
        let mut tasks = JoinSet::new();
        let url = provider(&mut tasks, answer).await;
        let settings = [
            ("web_search_url", &*url),
            ("allow_external_requests", "yes"),
            ("external_allow_hosts", "127.0.0.1"),
            ("web_search_max_bytes", "1KB"),
        ];
        let tool = web(&settings).await;
        let answer = search(&tool, "mesh").await.unwrap();
        assert!(
            !answer.success && answer.error.contains("127.0.0.1"),
            "{}",
            answer.error
        );
        assert!(answer.error.contains(expected), "{}", answer.error);
        tool.running.drain().await;
    }
}

#[tokio::test]
async fn a_provider_inside_is_asked_only_if_it_is_listed() {
    let settings = [
        ("web_search_url", "http://127.0.0.1:9/?q={query}"),
        ("allow_external_requests", "yes"),
    ];
    let tool = web(&settings).await;
    let answer = search(&tool, "mesh").await.unwrap();
    assert!(answer.error.contains("not to be asked"), "{}", answer.error);
    tool.running.drain().await;
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_waited_for_as_long_as_the_key_says() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?q={{query}}", silent.local_addr().unwrap());
    let settings = [
        ("web_search_url", url.as_str()),
        ("allow_external_requests", "yes"),
        ("external_allow_hosts", "127.0.0.1"),
        ("web_search_timeout", "200ms"),
    ];
    let tool = web(&settings).await;
    let began = std::time::Instant::now();
    let answer = search(&tool, "mesh").await;
    assert!(answer.map_or(true, |answer| !answer.success));
    // The default is 10 s.
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    tool.running.drain().await;
}
