//! Configurations of nodes that are wrong, each told with its path.

use serde_json::json;

use super::{mistakes, node, wrong};

#[test]
fn configurations_with_their_paths() {
    for (kind, config, path, message) in [
        ("agent", json!({"task": 5}), "task", "text"),
        ("agent", json!({"parameters": 5}), "parameters", "object"),
        (
            "agent",
            json!({"tool_ids": [5]}),
            "tool_ids",
            "list of texts",
        ),
        ("tool", json!({}), "tool", "missing"),
        ("tool", json!({"tool": "t"}), "operation", "missing"),
        ("worker", json!({}), "worker", "missing"),
        ("call", json!({"service": "s"}), "method", "missing"),
        (
            "call",
            json!({"service": "s", "method": "m", "payload": 5}),
            "payload",
            "object",
        ),
        ("pipeline", json!({}), "goal", "missing"),
        ("http", json!({}), "url", "missing"),
        ("http", json!({"url": ""}), "url", "empty"),
        ("http", json!({"url": "ftp://x"}), "url", "http://"),
        (
            "http",
            json!({"url": "http://x", "method": "BREW"}),
            "method",
            "GET",
        ),
        (
            "http",
            json!({"url": "http://x", "headers": {"a/b": 5}}),
            "headers/a~1b",
            "text",
        ),
        (
            "hitl",
            json!({"timeout_ms": 0}),
            "timeout_ms",
            "whole number",
        ),
        (
            "hitl",
            json!({"approvers": ["a"], "quorum": 2}),
            "quorum",
            "1 `approvers`",
        ),
        (
            "hitl",
            json!({"self_approval": 1}),
            "self_approval",
            "true or false",
        ),
        ("hitl", json!({"form": 5}), "form", "JSON Schema"),
        (
            "hitl",
            json!({"form": {"type": "nope"}}),
            "form",
            "JSON Schema",
        ),
        ("hitl", json!({"on_timeout": "x"}), "on_timeout", "one of"),
        (
            "hitl",
            json!({"on_timeout": "escalate"}),
            "escalate",
            "nobody",
        ),
        (
            "hitl",
            json!({"escalate": [{"approvers": ["b"]}]}),
            "escalate/0/after_ms",
            "missing",
        ),
        (
            "hitl",
            json!({"escalate": [{"after_ms": 5}]}),
            "escalate/0/approvers",
            "nobody",
        ),
        ("hitl", json!({"notify_url": "x"}), "notify_url", "http://"),
        ("conditional", json!({"match": "some"}), "match", "one of"),
        (
            "for_each",
            json!({"node": {"type": "noop"}}),
            "items",
            "missing",
        ),
        (
            "for_each",
            json!({"items": 5, "node": {"type": "noop"}}),
            "items",
            "list",
        ),
        (
            "for_each",
            json!({"items": "1 +", "node": {"type": "noop"}}),
            "items",
            "column",
        ),
        (
            "for_each",
            json!({"items": [], "node": {"type": "hitl"}}),
            "node/type",
            "`workflow`",
        ),
        (
            "for_each",
            json!({"items": [], "node": {"type": "http"}}),
            "node/config/url",
            "missing",
        ),
        (
            "for_each",
            json!({"items": [], "node": 5}),
            "node",
            "object",
        ),
        (
            "for_each",
            json!({"items": [], "concurrency": 0, "node": {"type": "noop"}}),
            "concurrency",
            "1 to 1000",
        ),
        ("sub_workflow", json!({}), "workflow", "missing"),
        (
            "sub_workflow",
            json!({"workflow": {"nodes": [{"id": "a", "type": "zz"}]}}),
            "workflow/nodes/0/type",
            "unknown type",
        ),
        ("timer", json!({"until": "tomorrow"}), "until", "RFC 3339"),
        (
            "timer",
            json!({"duration_ms": -1}),
            "duration_ms",
            "whole number",
        ),
        ("signal", json!({}), "name", "missing"),
        (
            "transform",
            json!({"expression": "x"}),
            "expression",
            "unknown name",
        ),
        (
            "transform",
            json!({"fields": {"k": "1 +"}}),
            "fields/k",
            "column",
        ),
        (
            "transform",
            json!({"transformation": "zz"}),
            "transformation",
            "one of",
        ),
        ("filter", json!({}), "expression", "missing"),
        ("aggregate", json!({"strategy": "zz"}), "strategy", "one of"),
        (
            "http",
            json!({"url": "$nodes.zz.url"}),
            "url",
            "no node `zz`",
        ),
        (
            "function",
            json!({"function_name": 5}),
            "function_name",
            "text",
        ),
    ] {
        wrong(
            &node(kind, &config),
            &format!("/nodes/0/config/{path}"),
            message,
        );
    }
    for (kind, config, message) in [
        ("for_each", json!({"items": []}), "missing"),
        (
            "for_each",
            json!({"items": [], "node": {"type": "noop"}, "workflow": "t"}),
            "not both",
        ),
        ("timer", json!({}), "missing"),
        ("timer", json!({"duration_ms": 1, "until": 1}), "not both"),
        ("function", json!({"service": "s"}), "belong together"),
        (
            "transform",
            json!({"value": 1, "expression": "1"}),
            "only one",
        ),
        ("noop", json!(5), "object"),
    ] {
        wrong(&node(kind, &config), "/nodes/0/config", message);
    }
}

#[test]
fn an_agent_that_is_not_the_first_needs_a_task() {
    let agents = json!({
        "nodes": [{"id": "a", "type": "agent"}, {"id": "b", "type": "agent"}],
        "edges": [{"from": "a", "to": "b"}],
    });
    let found = mistakes(&agents);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "/nodes/1/config/task");
}
