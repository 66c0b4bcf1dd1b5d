//! Learns what a server is: `server/discover` first, `initialize` where it does not know that.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::{
    asks::Capabilities,
    link::{Era, Exchange, Facts, Gone, LEGACY, MODERN, Outgoing},
    message::{Fields, Notification, Outcome, code, cut, error_code, error_text, raw, to_raw},
    stdio::Pipe,
};

/// How long a server of an earlier revision may leave the first question unanswered.
const PROBE: Duration = Duration::from_secs(3);

/// Who the mount is.
pub(crate) fn client_info() -> Value {
    json!({"name": "mcp-mount", "version": env!("CARGO_PKG_VERSION")})
}

/// What `_meta` of every request to a server of 2026-07-28 has.
pub(crate) fn modern_meta(
    version: &str,
    client: &Value,
    capabilities: &Map<String, Value>,
) -> Fields {
    Fields::from([
        (VERSION.to_owned(), raw(&Value::from(version))),
        (CLIENT.to_owned(), raw(client)),
        (CAPABILITIES.to_owned(), to_raw(capabilities)),
    ])
}

pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// The question for what a server is.
pub(crate) fn discover() -> Outgoing {
    let meta = modern_meta(MODERN, &client_info(), &Map::new());
    let params = Fields::from([("_meta".to_owned(), to_raw(&meta))]);
    Outgoing::own("server/discover", params)
}

/// The beginning of a session.
pub(crate) fn initialize() -> Outgoing {
    let params = json!({
        "protocolVersion": LEGACY[0],
        "capabilities": Capabilities::all().0,
        "clientInfo": client_info(),
    });
    Outgoing::own(
        "initialize",
        serde_json::from_value(params).unwrap_or_default(),
    )
}

/// The end of the handshake.
pub(crate) fn initialized() -> Notification {
    Notification::new("notifications/initialized", &json!({}))
}

/// Asks a server at the other end of pipes. Without `probe` it begins a session at once: some servers
/// end when they are asked anything else first.
pub(crate) async fn over_pipes(pipe: &Pipe, probe: bool) -> anyhow::Result<Facts> {
    let mut discovery = None;
    if probe {
        let mut asked = pipe.request(discover()).await?;
        match timeout(PROBE, asked.outcome()).await {
            Ok(outcome) => {
                if let Some(facts) = discovered(&outcome?)? {
                    return Ok(facts);
                }
            }
            // It is slow to start, or says nothing to what it does not know.
            Err(_) => discovery = Some(asked),
        }
    }
    let mut session = pipe.request(initialize()).await?;
    let begun = loop {
        tokio::select! {
            outcome = session.outcome() => match (begun(&outcome?), &mut discovery) {
                (Err(_), Some(asked)) => {
                    let facts = discovered(&asked.outcome().await?)?;
                    return facts.context("the server knows neither `server/discover` nor `initialize`");
                }
                (begun, _) => break begun?,
            },
            outcome = pending(&mut discovery) => match discovered(&outcome?)? {
                Some(facts) => return Ok(facts),
                None => discovery = None,
            },
        }
    };
    pipe.notify(&initialized()).await?;
    if begun.can("logging") {
        // The server logs everything, and each client gets what it asked for.
        pipe.request(set_level()).await?.outcome().await?.ok();
    }
    Ok(begun)
}

/// Asks for every line of the log.
pub(crate) fn set_level() -> Outgoing {
    let params = Fields::from([("level".to_owned(), raw(&json!("debug")))]);
    Outgoing::own("logging/setLevel", params)
}

/// The outcome of a request, if there is one.
async fn pending(exchange: &mut Option<Exchange>) -> Result<Outcome, Gone> {
    match exchange {
        Some(exchange) => exchange.outcome().await,
        None => std::future::pending().await,
    }
}

/// What `server/discover` was answered; `None` when the server is of an earlier revision.
pub(crate) fn discovered(outcome: &Outcome) -> anyhow::Result<Option<Facts>> {
    let result: Value = match outcome {
        Ok(result) => serde_json::from_str(result.get()).context("read what the server is")?,
        Err(error) if code::MODERN.contains(&error_code(error)) => {
            let said: Value = serde_json::from_str(error.get()).unwrap_or_default();
            if speaks_legacy(&said["data"]["supported"]) {
                return Ok(None);
            }
            bail!(
                "the server speaks no revision that we do: {}",
                cut(&error_text(error))
            );
        }
        Err(_) => return Ok(None),
    };
    let Some(versions) = result["supportedVersions"].as_array() else {
        // A server that answers everything with something.
        return Ok(None);
    };
    if !versions.iter().any(|it| it == MODERN) {
        if versions
            .iter()
            .any(|it| LEGACY.iter().any(|known| it == known))
        {
            return Ok(None);
        }
        bail!(
            "the server speaks {}, and we speak {MODERN}",
            cut(&Value::from(versions.clone()).to_string())
        );
    }
    Ok(Some(facts(
        Era::Modern,
        MODERN,
        &result,
        &result["_meta"][SERVER],
    )))
}

/// What `initialize` was answered.
pub(crate) fn begun(outcome: &Outcome) -> anyhow::Result<Facts> {
    let result: Value = match outcome {
        Ok(result) => serde_json::from_str(result.get()).context("read what the server is")?,
        Err(error) => bail!("the server refuses to begin: {}", cut(&error_text(error))),
    };
    let version = result["protocolVersion"].as_str().unwrap_or_default();
    let Some(version) = LEGACY.iter().find(|known| **known == version) else {
        bail!(
            "the server speaks revision {:?}, and we do not",
            cut(version)
        );
    };
    Ok(facts(Era::Legacy, version, &result, &result["serverInfo"]))
}

/// Whether a list of revisions has an earlier one.
fn speaks_legacy(versions: &Value) -> bool {
    let all = versions.as_array().into_iter().flatten();
    let mut known = all.filter(|it| LEGACY.iter().any(|known| it == known));
    known.next().is_some()
}

fn facts(era: Era, version: &str, result: &Value, server: &Value) -> Facts {
    Facts {
        era,
        version: version.to_owned(),
        server: server.clone(),
        capabilities: result["capabilities"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
        instructions: result["instructions"].as_str().map(str::to_owned),
        is_own: true,
        knows_both: speaks_legacy(&result["supportedVersions"]),
    }
}
