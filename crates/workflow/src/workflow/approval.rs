//! The configuration of a `hitl`, and of approvals of patches: who is asked, and how.

use serde_json::{Map, Value, json};

use super::{Mistake, read::MAX_MS, reader::Reader};
use crate::form;

/// What people are asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Approval {
    pub(crate) message: String,
    pub(crate) timeout_ms: u64,
    pub(crate) options: Value,
}

/// Reads the configuration of a `hitl`, filled in.
pub(crate) fn approval_options(config: &Value) -> Result<Approval, Mistake> {
    let mut reader = Reader::default();
    let empty = Map::new();
    let approval = read(&mut reader, "", config.as_object().unwrap_or(&empty));
    match reader.mistakes.pop() {
        Some(mistake) => Err(mistake),
        None => Ok(approval),
    }
}

pub(super) fn read(reader: &mut Reader, at: &str, config: &Map<String, Value>) -> Approval {
    const DAY: u64 = 86_400_000;
    let message = reader
        .text(at, config, "message")
        .unwrap_or("Approval required");
    let timeout_ms = reader
        .whole(at, config, "timeout_ms", 1..=MAX_MS)
        .unwrap_or(DAY);
    let approvers = reader.texts(at, config, "approvers").unwrap_or_default();
    let quorum = reader.whole(at, config, "quorum", 1..=100).unwrap_or(1);
    let people = u64::try_from(approvers.len()).unwrap_or(u64::MAX);
    if people > 0 && quorum > people {
        let message = format!("`quorum` is {quorum}, and there are {people} `approvers`");
        reader.wrong(format!("{at}/quorum"), message);
    }
    let words = ["reject", "approve", "fail", "escalate"];
    let on_timeout = reader.one_of(at, config, "on_timeout", &words);
    let notify_url = reader.text(at, config, "notify_url");
    if notify_url.is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        let message = "`notify_url` has to begin with `http://` or `https://`";
        reader.wrong(format!("{at}/notify_url"), message);
    }
    let form = config.get("form").filter(|form| !form.is_null());
    if let Some(problem) = form.and_then(|form| form::check_schema(form).err()) {
        reader.wrong(format!("{at}/form"), problem);
    }
    let escalate = escalation(reader, at, config);
    if on_timeout == Some("escalate") && escalate.is_empty() {
        let message = "`on_timeout` is `escalate`, and `escalate` names nobody";
        reader.wrong(format!("{at}/escalate"), message);
    }
    let options = json!({
        "approvers": approvers,
        "quorum": quorum,
        "self_approval": reader.flag(at, config, "self_approval").unwrap_or(true),
        "form": form,
        "on_timeout": on_timeout.unwrap_or("reject"),
        "escalate": escalate,
        "remind_ms": reader.whole(at, config, "remind_ms", 1000..=MAX_MS),
        "notify_url": notify_url,
        "timeout_ms": timeout_ms,
    });
    Approval {
        message: message.to_owned(),
        timeout_ms,
        options,
    }
}

fn escalation(reader: &mut Reader, at: &str, config: &Map<String, Value>) -> Vec<Value> {
    let steps = match config.get("escalate") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(steps)) if steps.len() <= 10 => steps,
        Some(_) => {
            let message = "`escalate` has to be a list of at most 10 steps";
            reader.wrong(format!("{at}/escalate"), message);
            return Vec::new();
        }
    };
    let read = steps.iter().enumerate().filter_map(|(place, step)| {
        let at = format!("{at}/escalate/{place}");
        let Value::Object(step) = step else {
            reader.wrong(at, "a step has to be an object: `after_ms`, `approvers`");
            return None;
        };
        if !step.contains_key("after_ms") {
            reader.wrong(format!("{at}/after_ms"), "`after_ms` is missing");
        }
        let after_ms = reader.whole(&at, step, "after_ms", 1..=MAX_MS)?;
        let approvers = reader.texts(&at, step, "approvers").unwrap_or_default();
        if approvers.is_empty() {
            reader.wrong(format!("{at}/approvers"), "`approvers` names nobody");
        }
        Some(json!({"after_ms": after_ms, "approvers": approvers}))
    });
    read.collect()
}
