//! Who may call what.

use serde_json::json;

use super::{eventually, modern, modern_request};
use crate::support::{Gateway, read};

/// SHA-256 of `ann-secret` and of `bob-secret`.
fn hash(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn as_token(
    gateway: &Gateway,
    token: &str,
    method: &str,
    params: serde_json::Value,
) -> crate::support::Answer {
    let request = modern_request(gateway, "/mcp", method, params);
    read(request.header("authorization", format!("Bearer {token}"))).await
}

#[tokio::test]
async fn tokens_of_the_file_allow_what_they_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let ann = format!(
        "[[token]]\nname = \"ann\"\nsha256 = \"{}\"\n",
        hash("ann-secret")
    );
    let bob = format!(
        "[[token]]\nname = \"bob\"\nsha256 = \"{}\"\ntools = [\"nothing*\"]\n",
        hash("bob-secret")
    );
    let slow = format!(
        "[[token]]\nname = \"slow\"\nsha256 = \"{}\"\nrate = 1.0\n",
        hash("slow-secret")
    );
    std::fs::write(&path, format!("{ann}{bob}{slow}")).unwrap();
    let file = path.display().to_string();
    let set = [("mcp_auth", "token"), ("mcp_tokens", file.as_str())];
    let gateway = crate::support::embedded(&set).await;
    let _echo = crate::support::beside(&gateway, &echo_agent::SPEC, echo_agent::build, &[]).await;
    let refused = modern(&gateway, "tools/list", json!({})).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.header("www-authenticate").starts_with("Bearer"),
        "{refused:?}"
    );
    let wrong = as_token(&gateway, "other", "tools/list", json!({})).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("www-authenticate").contains("invalid_token"));
    let call = || json!({"name": "echo-agent", "arguments": {"input": "x"}});
    eventually(async || {
        let called = as_token(&gateway, "ann-secret", "tools/call", call()).await;
        called.text.contains("Echo Agent Response: x")
    })
    .await;
    let list = as_token(&gateway, "bob-secret", "tools/list", json!({}))
        .await
        .json();
    assert!(!list.to_string().contains("echo-agent"), "{list}");
    assert_eq!(list["result"]["cacheScope"], "private");
    let called = as_token(&gateway, "bob-secret", "tools/call", call())
        .await
        .json();
    assert_eq!(called["error"]["code"], -32602, "{called}");
    let through =
        json!({"name": "call_tool", "arguments": {"name": "echo-agent", "arguments": {}}});
    let called = as_token(&gateway, "bob-secret", "tools/call", through)
        .await
        .json();
    assert_eq!(called["result"]["isError"], true, "{called}");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(
            as_token(&gateway, "slow-secret", "tools/call", call())
                .await
                .status,
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // What the file says now counts.
    std::fs::write(&path, ann).unwrap();
    eventually(async || {
        as_token(&gateway, "bob-secret", "tools/list", json!({}))
            .await
            .status
            == 401
    })
    .await;
    assert_eq!(
        as_token(&gateway, "ann-secret", "tools/list", json!({}))
            .await
            .status,
        200
    );
}
