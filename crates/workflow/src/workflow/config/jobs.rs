//! Nodes that are done somewhere else.

use serde_json::{Map, Value};

use super::{Kind, Reading};
use crate::workflow::read::reference_token;

pub(super) fn agent(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    for key in ["task", "prompt", "input", "agent", "service", "method"] {
        r.reader.text(at, config, key);
    }
    r.reader.object(at, config, "parameters");
    r.reader.texts(at, config, "tool_ids");
    Some(Kind::Job("agent"))
}

/// A method of a service by its name.
pub(super) fn names_method(config: &Map<String, Value>) -> bool {
    config.contains_key("service") && config.contains_key("method")
}

pub(super) fn tool(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    who(r, config, &["tool", "tool_id", "service"]);
    if !names_method(config) {
        r.reader.needs_text(&r.at, config, "operation");
    }
    r.reader.object(&r.at, config, "parameters");
    Some(Kind::Job("tool"))
}

pub(super) fn worker(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    who(r, config, &["worker", "worker_id", "agent_id", "service"]);
    r.reader.object(&r.at, config, "parameters");
    Some(Kind::Job("worker"))
}

/// Somebody has to be named who does it.
fn who(r: &mut Reading<'_>, config: &Map<String, Value>, keys: &[&str]) {
    let at = &r.at;
    for key in keys.iter().chain(&["method"]) {
        r.reader.text(at, config, key);
    }
    let first = keys.first().copied().unwrap_or_default();
    if !keys.iter().any(|key| config.contains_key(*key)) {
        r.reader.wrong(
            format!("{at}/{first}"),
            format!("`{first}` is missing: who does it"),
        );
    }
}

pub(super) fn direct_call(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    r.reader.needs_text(at, config, "service");
    r.reader.needs_text(at, config, "method");
    r.reader.object(at, config, "payload");
    r.reader.object(at, config, "metadata");
    Some(Kind::Job("call"))
}

pub(super) fn pipeline(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let key = if config.contains_key("task") {
        "task"
    } else {
        "goal"
    };
    r.reader.needs_text(&r.at, config, key);
    Some(Kind::Job("pipeline"))
}

pub(super) fn http(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let at = &r.at;
    r.reader.needs_text(at, config, "url");
    if let Some(url) = r.reader.text(at, config, "url") {
        let known = ["http://", "https://", "$"]
            .iter()
            .any(|start| url.starts_with(start));
        if !url.is_empty() && !known {
            let message = "`url` has to begin with `http://` or `https://`";
            r.reader.wrong(format!("{at}/url"), message);
        }
    }
    if let Some(method) = r.reader.text(at, config, "method")
        && !METHODS.contains(&method.to_ascii_uppercase().as_str())
    {
        let message = format!("`method` has to be one of {}", METHODS.join(", "));
        r.reader.wrong(format!("{at}/method"), message);
    }
    if let Some(headers) = r.reader.object(at, config, "headers") {
        for (key, value) in headers {
            if !value.is_string() {
                let at = format!("{at}/headers/{}", reference_token(key));
                r.reader.wrong(at, "a header has to be a text");
            }
        }
    }
    Some(Kind::Job("http"))
}

pub(super) fn function(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    for key in ["service", "method", "function_name", "handler", "action"] {
        r.reader.text(at, config, key);
    }
    if config.contains_key("service") != config.contains_key("method") {
        let message = "`service` and `method` belong together";
        r.reader.wrong(at.as_str(), message);
    }
    Some(Kind::Job("function"))
}
