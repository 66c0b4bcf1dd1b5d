//! Events of runs as clients read them.

use chrono::Utc;
use runs::{EventCursor, StoredEvent};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use workflow::{Event, EventKind};

use crate::job_view::{error, time};

/// Events that end a run; a retry may follow.
pub(crate) fn is_end(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::WorkflowCompleted | EventKind::WorkflowFailed | EventKind::WorkflowCancelled
    )
}

/// The event that a store has kept; `None` for one of a later version of this program.
pub(crate) fn read(stored: &StoredEvent) -> Option<Event> {
    Event::deserialize(&stored.event).ok()
}

/// An event as a text of a WebSocket or the data of a server-sent event: `type` and `timestamp` in
/// Unix seconds, as ever; `at` and `cursor` are ours.
pub(crate) fn body(stored: &StoredEvent, event: &Event, cursor: &EventCursor) -> Value {
    let mut body = match &event.data {
        Value::Object(data) => data.clone(),
        _ => Map::new(),
    };
    if let Some(reason) = body.get("error").and_then(Value::as_str) {
        let reason = error(reason);
        body.insert("error".to_owned(), reason.into());
    }
    let tag = json!(stored.tag);
    match event.kind {
        EventKind::WorkflowStarted => {
            body.insert("tag".to_owned(), tag);
        }
        EventKind::ApprovalRequired => {
            body.insert("workflow_tag".to_owned(), tag);
        }
        EventKind::WorkflowCompleted => {
            body.entry("counter").or_insert_with(|| 0.into());
        }
        EventKind::NodeCompleted => {
            body.entry("status").or_insert_with(|| "completed".into());
            for name in ["counter", "result_ref"] {
                body.entry(name).or_insert(Value::Null);
            }
        }
        EventKind::NodeFailed | EventKind::WorkflowFailed => {
            body.entry("error").or_insert(Value::Null);
        }
        _ => {}
    }
    if event.node_id.is_some() || event.kind == EventKind::WorkflowFailed {
        body.insert("node_id".to_owned(), json!(event.node_id));
    }
    body.insert("type".to_owned(), event.kind.as_str().into());
    body.insert("run_id".to_owned(), stored.run_id.clone().into());
    body.insert("timestamp".to_owned(), (event.at / 1_000).into());
    body.insert("at".to_owned(), json!(time(event.at)));
    body.insert("cursor".to_owned(), cursor.to_text().into());
    body.into()
}

/// A message that is no event of a run.
pub(crate) fn notice(kind: &str, detail: &str, cursor: &EventCursor) -> Value {
    let now = Utc::now().timestamp();
    json!({"type": kind, "timestamp": now, "detail": detail, "cursor": cursor.to_text()})
}

/// An event as a line of a log; `None` where `filter` or `node` leaves it out.
pub(crate) fn log_line(
    stored: &StoredEvent,
    event: &Event,
    cursor: &EventCursor,
    node: Option<&str>,
    only_errors: bool,
) -> Option<Value> {
    let level = match event.kind {
        EventKind::NodeFailed | EventKind::WorkflowFailed => "error",
        EventKind::NodeRetrying
        | EventKind::NodeCancelled
        | EventKind::WorkflowCancelled
        | EventKind::PatchRefused
        | EventKind::Compensating => "warn",
        _ => "info",
    };
    let of_node = node.is_none_or(|node| event.node_id.as_deref() == Some(node));
    let fits = of_node && (!only_errors || level == "error");
    fits.then(|| {
        json!({
            "timestamp": time(event.at),
            "level": level,
            "node_id": event.node_id,
            "message": message(event),
            "run_id": stored.run_id,
            "cursor": cursor.to_text(),
        })
    })
}

/// Such as `node failed: no route to host`.
fn message(event: &Event) -> String {
    let mut text = event.kind.as_str().replace('_', " ");
    let told = ["error", "message", "name", "by", "reason"];
    let told = told.iter().find_map(|name| event.data[*name].as_str());
    if let Some(told) = told.filter(|told| !told.is_empty()) {
        text.push_str(": ");
        text.push_str(&error(told));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(event: &Event) -> StoredEvent {
        StoredEvent {
            shard: 3,
            seq: 16,
            run_id: "r".to_owned(),
            owner: "o".to_owned(),
            tag: Some("main".to_owned()),
            event: serde_json::to_value(event).unwrap(),
        }
    }

    fn event(kind: EventKind, node: Option<&str>, data: Value) -> Event {
        let node_id = node.map(str::to_owned);
        Event {
            at: 1_700_000_000_123,
            kind,
            node_id,
            data,
        }
    }

    fn shown(kind: EventKind, node: Option<&str>, data: Value) -> Value {
        let event = event(kind, node, data);
        let stored = stored(&event);
        assert_eq!(read(&stored).as_ref(), Some(&event));
        body(&stored, &event, &EventCursor([(3, 16)].into()))
    }

    #[test]
    fn texts_have_what_the_predecessors_clients_read() {
        use EventKind::*;
        let started = shown(WorkflowStarted, None, json!({"nodes": 3, "entry_nodes": 1}));
        let expected = json!({"type": "workflow_started", "run_id": "r", "tag": "main", "nodes": 3,
            "entry_nodes": 1, "timestamp": 1_700_000_000, "at": "2023-11-14T22:13:20.123Z", "cursor": "3-10"});
        assert_eq!(started, expected);
        for (kind, node, data, fields) in [
            (
                NodeCompleted,
                Some("a"),
                json!({}),
                "node_id status counter result_ref",
            ),
            (
                NodeFailed,
                Some("a"),
                json!({"error": "x"}),
                "node_id error",
            ),
            (
                WorkflowFailed,
                Some("a"),
                json!({"error": "x"}),
                "node_id error",
            ),
            (
                ApprovalRequired,
                Some("a"),
                json!({"message": "ok?"}),
                "node_id workflow_tag message",
            ),
            (WorkflowCompleted, None, Value::Null, "counter"),
        ] {
            let shown = shown(kind, node, data);
            for field in fields
                .split(' ')
                .chain(["type", "timestamp", "run_id", "cursor"])
            {
                assert!(shown.get(field).is_some(), "{field}: {shown}");
            }
        }
    }

    #[test]
    fn passwords_of_urls_are_not_told() {
        let data = json!({"error": "http://me:hunter2@h/ is away"});
        assert!(
            !shown(EventKind::NodeFailed, Some("a"), data)
                .to_string()
                .contains("hunter2")
        );
    }

    #[test]
    fn lines_of_the_log_have_a_level_and_are_left_out_by_it_and_by_node() {
        let failed = event(
            EventKind::NodeFailed,
            Some("a"),
            json!({"error": "no route"}),
        );
        let line = |event: &Event, node, errors| {
            log_line(&stored(event), event, &EventCursor::default(), node, errors)
        };
        let told = line(&failed, Some("a"), true).unwrap();
        assert_eq!(
            (&told["level"], &told["message"]),
            (&json!("error"), &json!("node failed: no route"))
        );
        assert_eq!(line(&failed, Some("b"), false), None);
        let completed = event(EventKind::NodeCompleted, Some("a"), Value::Null);
        assert_eq!(line(&completed, None, true), None);
        assert_eq!(
            line(&completed, None, false).unwrap()["message"],
            "node completed"
        );
    }
}
