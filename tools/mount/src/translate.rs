//! What one era says in the words of the other.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    asks::{self, TASKS},
    handshake::SERVER,
    link::{Era, Facts, LEGACY, MODERN},
    message::{Fields, Notification, Outcome, Raw, code, error_code, fields, raw, to_raw},
};

/// Methods whose results may be kept for a while.
const CACHED: [&str; 5] = [
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
];

/// How long a client may keep a list of a server that does not say so.
const TTL_MS: u64 = 1000;

/// Levels of log lines, the least first.
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// The rank of a level of log lines.
pub(crate) fn level(name: &str) -> Option<usize> {
    LEVELS.iter().position(|known| *known == name)
}

/// The level of this rank.
pub(crate) fn level_name(rank: usize) -> &'static str {
    LEVELS.get(rank).copied().unwrap_or("info")
}

/// Whether a line of the log, as a notification, is at least of this level.
pub(crate) fn is_logged(params: Option<&Raw>, least: usize) -> bool {
    let of = fields(params.map(|it| &**it)).unwrap_or_default();
    let of = crate::message::text(of.get("level")).unwrap_or_default();
    level(&of).is_none_or(|of| of >= least)
}

/// All revisions that a mount speaks with its clients, the latest first.
pub(crate) fn revisions() -> Vec<&'static str> {
    [MODERN].into_iter().chain(LEGACY).collect()
}

/// The answer to `server/discover` for a server of whichever era.
pub(crate) fn discovered(facts: &Facts) -> Value {
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": revisions(),
        "capabilities": modern_capabilities(facts),
        "_meta": {SERVER: facts.server},
        "ttlMs": TTL_MS,
        "cacheScope": "public",
    });
    if let Some(instructions) = &facts.instructions {
        result["instructions"] = instructions.as_str().into();
    }
    result
}

/// The answer to `initialize` for a server of whichever era.
pub(crate) fn begun(facts: &Facts, asked: &str) -> Value {
    let version = LEGACY.iter().find(|known| **known == asked);
    let mut result = json!({
        "protocolVersion": version.unwrap_or(&LEGACY[0]),
        "capabilities": legacy_capabilities(facts),
        "serverInfo": facts.server,
    });
    if !result["serverInfo"].is_object() {
        result["serverInfo"] = json!({"name": "mcp-mount", "version": env!("CARGO_PKG_VERSION")});
    }
    if let Some(instructions) = &facts.instructions {
        result["instructions"] = instructions.as_str().into();
    }
    result
}

fn modern_capabilities(facts: &Facts) -> Map<String, Value> {
    let mut capabilities = facts.capabilities.clone();
    if facts.era == Era::Legacy
        && let Some(tasks) = capabilities.remove("tasks")
        && tasks.pointer("/requests/tools/call").is_some()
    {
        asks::add_tasks(&mut capabilities);
    }
    capabilities
}

fn legacy_capabilities(facts: &Facts) -> Map<String, Value> {
    let mut capabilities = facts.capabilities.clone();
    if facts.era == Era::Modern
        && let Some(Value::Object(mut extensions)) = capabilities.remove("extensions")
    {
        if extensions.remove(TASKS).is_some() {
            let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
            capabilities.insert("tasks".to_owned(), tasks);
        }
        if !extensions.is_empty() {
            capabilities.insert("extensions".to_owned(), Value::Object(extensions));
        }
    }
    capabilities
}

/// The outcome of a request to a server of an earlier revision, for a client of 2026-07-28.
pub(crate) fn to_modern(method: &str, facts: &Arc<Facts>, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(result) => {
            let Some(mut result) = fields(Some(&result)) else {
                return Ok(result);
            };
            add(&mut result, "resultType", &json!("complete"));
            if CACHED.contains(&method) {
                add(&mut result, "ttlMs", &json!(TTL_MS));
                add(&mut result, "cacheScope", &json!("public"));
            }
            let meta = result.get("_meta").map(|it| &**it);
            let mut meta: Fields = fields(meta).unwrap_or_default();
            add(&mut meta, SERVER, &facts.server);
            result.insert("_meta".to_owned(), to_raw(&meta));
            Ok(to_raw(&result))
        }
        Err(error) => Err(recoded(&error, code::NO_RESOURCE, code::INVALID_PARAMS)),
    }
}

/// The outcome of a request to a server of 2026-07-28, for a client of an earlier revision.
pub(crate) fn to_legacy(method: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(result) => {
            let Some(mut result) = fields(Some(&result)) else {
                return Ok(result);
            };
            result.remove("resultType");
            result.remove("ttlMs");
            result.remove("cacheScope");
            Ok(to_raw(&result))
        }
        Err(error) if method == "resources/read" => {
            Err(recoded(&error, code::INVALID_PARAMS, code::NO_RESOURCE))
        }
        Err(error) => Err(error),
    }
}

/// A notification of a server of 2026-07-28 for a client of an earlier revision: without the
/// subscription that it came by.
pub(crate) fn without_subscription(params: Option<&Raw>) -> Option<Raw> {
    let mut params = fields(params.map(|it| &**it))?;
    let mut meta = fields(params.get("_meta").map(|it| &**it)).unwrap_or_default();
    meta.remove(SUBSCRIPTION);
    match meta.is_empty() {
        true => drop(params.remove("_meta")),
        false => drop(params.insert("_meta".to_owned(), to_raw(&meta))),
    }
    (!params.is_empty()).then(|| to_raw(&params))
}

/// A list of tools for a client of an earlier revision: each may be called as a task.
pub(crate) fn with_task_support(result: &Raw) -> Raw {
    let Some(mut result) = fields(Some(result)) else {
        return result.clone();
    };
    let tools = result.get("tools").map(|it| serde_json::from_str(it.get()));
    if let Some(Ok(Value::Array(mut tools))) = tools {
        for tool in tools.iter_mut().filter(|it| it.is_object()) {
            tool["execution"] = json!({"taskSupport": "optional"});
        }
        result.insert("tools".to_owned(), raw(&Value::Array(tools)));
    }
    to_raw(&result)
}

pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The parameters of a notification with the subscription that it comes by.
pub(crate) fn with_subscription(params: Option<&Raw>, id: &Raw) -> Raw {
    let mut params = fields(params.map(|it| &**it)).unwrap_or_default();
    let mut meta = fields(params.get("_meta").map(|it| &**it)).unwrap_or_default();
    meta.insert(SUBSCRIPTION.to_owned(), id.clone());
    params.insert("_meta".to_owned(), to_raw(&meta));
    to_raw(&params)
}

/// A notification of a request as its client gets it: progress with its own `token`, and lines of the
/// log of at least its `level`. `None` for what it did not ask for.
pub(crate) fn for_client(
    mut it: Notification,
    token: Option<&Raw>,
    level: Option<usize>,
) -> Option<Notification> {
    match &*it.method {
        "notifications/progress" => it.params = Some(with_token(it.params.as_ref(), token?)),
        "notifications/message" if !is_logged(it.params.as_ref(), level?) => return None,
        _ => {}
    }
    Some(it)
}

/// The parameters of progress with the client's own token.
fn with_token(params: Option<&Raw>, token: &Raw) -> Raw {
    let mut params = fields(params.map(|it| &**it)).unwrap_or_default();
    params.insert("progressToken".to_owned(), token.clone());
    to_raw(&params)
}

fn add(to: &mut Fields, name: &str, value: &Value) {
    to.entry(name.to_owned()).or_insert_with(|| raw(value));
}

fn recoded(error: &Raw, from: i64, to: i64) -> Raw {
    if error_code(error) != from {
        return error.clone();
    }
    let Some(mut error) = fields(Some(error)) else {
        return error.clone();
    };
    error.insert("code".to_owned(), raw(&Value::from(to)));
    to_raw(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(era: Era, capabilities: Value) -> Arc<Facts> {
        Arc::new(Facts {
            era,
            version: String::new(),
            server: json!({"name": "n", "version": "1"}),
            capabilities: serde_json::from_value(capabilities).unwrap(),
            instructions: None,
            is_own: true,
            knows_both: false,
        })
    }

    fn value(outcome: &Outcome) -> Value {
        let raw = outcome.as_ref().unwrap_or_else(|error| error);
        serde_json::from_str(raw.get()).unwrap()
    }

    #[test]
    fn a_result_crosses_the_eras() {
        let facts = facts(Era::Legacy, json!({}));
        let list = Ok(raw(&json!({"tools": [], "_meta": {"a": 1}})));
        let modern = to_modern("tools/list", &facts, list);
        let expected = json!({
            "tools": [], "resultType": "complete", "ttlMs": TTL_MS, "cacheScope": "public",
            "_meta": {"a": 1, SERVER: {"name": "n", "version": "1"}},
        });
        assert_eq!(value(&modern), expected);
        let back = to_legacy("tools/list", modern);
        assert_eq!(value(&back)["tools"], json!([]));
        assert!(value(&back).get("resultType").is_none());
        let gone = Err(crate::message::error(code::NO_RESOURCE, "gone"));
        let modern = to_modern("resources/read", &facts, gone);
        assert_eq!(value(&modern)["code"], code::INVALID_PARAMS);
        let legacy = to_legacy("resources/read", modern);
        assert_eq!(value(&legacy)["code"], code::NO_RESOURCE);
    }

    #[test]
    fn tasks_are_a_capability_in_one_era_and_an_extension_in_the_other() {
        let old = facts(
            Era::Legacy,
            json!({"tasks": {"requests": {"tools": {"call": {}}}}, "tools": {}}),
        );
        let expected = json!({"tools": {}, "extensions": {TASKS: {}}});
        assert_eq!(discovered(&old)["capabilities"], expected);
        let new = facts(
            Era::Modern,
            json!({"tools": {}, "extensions": {TASKS: {}, "x/y": {}}}),
        );
        let result = begun(&new, "2025-06-18");
        assert_eq!(result["protocolVersion"], "2025-06-18");
        assert_eq!(
            result["capabilities"]["tasks"]["requests"]["tools"]["call"],
            json!({})
        );
        assert_eq!(result["capabilities"]["extensions"], json!({"x/y": {}}));
        assert_eq!(begun(&new, "1999-01-01")["protocolVersion"], LEGACY[0]);
    }
}
