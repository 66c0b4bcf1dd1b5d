//! Who may call what.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::{eventually, modern, modern_request};
use crate::support::{Gateway, read};

/// A file of tokens by these names, whose secrets are `<name>-secret`, with more lines of each.
pub(super) fn file(tokens: &[(&str, &str)]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text(tokens)).unwrap();
    file
}

fn text(tokens: &[(&str, &str)]) -> String {
    let texts = tokens.iter().map(|(name, more)| {
        let hash = hash(&format!("{name}-secret"));
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{more}\n")
    });
    texts.collect()
}

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
    let file = file(&[
        ("ann", ""),
        ("bob", "tools = [\"nothing*\"]"),
        ("slow", "rate = 1.0"),
    ]);
    let set = [
        ("mcp_auth", "token"),
        ("mcp_tokens", file.path().to_str().unwrap()),
    ];
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
    std::fs::write(file.path(), text(&[("ann", "")])).unwrap();
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

/// An authorization server that signs with one key.
struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    _serving: JoinSet<()>,
}

const RESOURCE: &str = "http://localhost:3000/mcp";

impl Issuer {
    async fn start() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let point = key.public_key().as_ref().to_vec();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig",
            "x": text(&point[1..33]), "y": text(&point[33..])}]});
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let body = set.to_string();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream
                    .write_all(format!("{head}{body}").as_bytes())
                    .await
                    .ok();
            }
        });
        Self {
            url,
            key,
            _serving: serving,
        }
    }

    /// A token with these claims beside good ones; `null` removes one.
    fn token(&self, head: &Value, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({"iss": self.url, "aud": RESOURCE, "sub": "ann",
            "exp": (now + Duration::from_secs(300)).as_secs(), "scope": "mesh:read mesh:tools"});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(&claims));
        let random = SystemRandom::new();
        let signature = self.key.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn tokens_of_an_authorization_server_are_verified() {
    let issuer = Issuer::start().await;
    let jwks = format!("{}/jwks", issuer.url);
    let gateway = crate::support::embedded(&[
        ("mcp_auth", "jwt"),
        ("mcp_jwks_url", &jwks),
        ("mcp_issuer", &issuer.url),
        ("mcp_resource", RESOURCE),
        ("mcp_allowed_hosts", "127.0.0.1, mcp.example"),
    ])
    .await;
    let metadata = gateway
        .get("/.well-known/oauth-protected-resource/mcp")
        .await;
    assert_eq!(metadata.status, 200);
    assert_eq!(metadata.json()["resource"], RESOURCE);
    assert_eq!(
        metadata.json()["authorization_servers"],
        json!([issuer.url])
    );
    let refused = modern(&gateway, "tools/list", json!({})).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate");
    let url =
        "resource_metadata=\"http://localhost:3000/.well-known/oauth-protected-resource/mcp\"";
    assert!(
        challenge.contains(url) && challenge.contains("mesh:read"),
        "{challenge}"
    );
    let good = json!({"alg": "ES256", "kid": "one"});
    let past = UNIX_EPOCH.elapsed().unwrap().as_secs() - 120;
    for (head, claims, status) in [
        (good.clone(), json!({}), 200),
        (good.clone(), json!({"aud": ["other", RESOURCE]}), 200),
        (
            good.clone(),
            json!({"aud": "http://localhost:3000/other"}),
            401,
        ),
        (good.clone(), json!({"aud": null}), 401),
        (good.clone(), json!({"iss": "https://other.example"}), 401),
        (good.clone(), json!({"exp": past}), 401),
        (good.clone(), json!({"nbf": past + 600}), 401),
        (json!({"alg": "none", "kid": "one"}), json!({}), 401),
        (json!({"alg": "HS256", "kid": "one"}), json!({}), 401),
        (json!({"alg": "RS256", "kid": "one"}), json!({}), 401),
        (json!({"alg": "ES256", "kid": "two"}), json!({}), 401),
        (good.clone(), json!({"scope": ""}), 403),
    ] {
        let token = issuer.token(&head, &claims);
        let answer = as_token(&gateway, &token, "tools/list", json!({})).await;
        assert_eq!(answer.status, status, "{head} {claims}: {answer:?}");
    }
    let mut forged = issuer.token(&good, &json!({}));
    let unsigned = forged.rfind('.').unwrap() + 1;
    forged.truncate(unsigned);
    assert_eq!(
        as_token(&gateway, &forged, "tools/list", json!({}))
            .await
            .status,
        401
    );
    // A scope for one tool is the right to this one.
    let _echo = crate::support::beside(&gateway, &echo_agent::SPEC, echo_agent::build, &[]).await;
    let named = issuer.token(&good, &json!({"scope": "mesh:tool:echo-agent"}));
    let reads = issuer.token(&good, &json!({"scope": "mesh:read"}));
    let call = || json!({"name": "echo-agent", "arguments": {"input": "x"}});
    eventually(async || {
        let called = as_token(&gateway, &named, "tools/call", call()).await;
        called.text.contains("Echo Agent Response: x")
    })
    .await;
    let lacks = as_token(&gateway, &reads, "tools/call", call()).await;
    assert_eq!(lacks.status, 403);
    let challenge = lacks.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(
        challenge.contains("scope=\"mesh:tool:echo-agent\""),
        "{challenge}"
    );
}
