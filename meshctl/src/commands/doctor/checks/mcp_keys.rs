//! The keys that verify tokens for `/mcp` are there.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::Value;

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "mcp-keys",
    about: "the authorization server of /mcp shows its keys (mcp_jwks_url)",
    run: |scene| Box::pin(look(scene)),
};

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(3);

async fn look(scene: &Scene) -> Finding {
    let uses = |program: &&super::super::program::Program| program.key("mcp_auth") == Some("jwt");
    let urls: BTreeMap<&str, &str> = scene
        .programs
        .iter()
        .filter(uses)
        .filter_map(|program| Some((program.key("mcp_jwks_url")?, program.name())))
        .collect();
    if urls.is_empty() {
        return Finding::not_used("no gateway that is known has mcp_auth = \"jwt\"");
    }
    let tried = urls.iter().map(|(url, gateway)| async move {
        let failed = keys(url).await.err();
        failed.map(|reason| format!("{url} of {gateway}: {reason}"))
    });
    let failed: Vec<String> = join_all(tried).await.into_iter().flatten().collect();
    if failed.is_empty() {
        let urls: Vec<&&str> = urls.keys().collect();
        return Finding::well(format!("{} has keys", some(&urls)));
    }
    Finding::wrong(
        some(&failed),
        "start the authorization server or correct MCP_JWKS_URL: new tokens are refused meanwhile",
    )
}

async fn keys(url: &str) -> Result<(), String> {
    let http = reqwest::Client::builder()
        .use_rustls_tls()
        .timeout(LIMIT)
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = crate::admin::read(http.get(url)).await?;
    if answer.status != 200 {
        return Err(format!("it says {}", answer.status));
    }
    let set: Value =
        serde_json::from_str(&answer.text).map_err(|_| "that is no JSON".to_owned())?;
    match set["keys"].as_array().map(Vec::len) {
        None => Err("there is no member `keys`".to_owned()),
        Some(0) => Err("it has no key".to_owned()),
        Some(_) => Ok(()),
    }
}
