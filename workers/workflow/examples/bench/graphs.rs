//! The workflows of the measurement. Their nodes are calls that the worker here answers.

use serde_json::{Value, json};

fn step(id: &str) -> Value {
    json!({"id": id, "type": "call",
           "config": {"service": "bench", "method": "bench.Steps/Empty", "payload": {}}})
}

fn edges(edges: &[(&str, &str)]) -> Vec<Value> {
    let edges = edges.iter();
    edges
        .map(|(from, to)| json!({"from": from, "to": to}))
        .collect()
}

/// Three nodes in a row.
pub(crate) fn sequence() -> Value {
    json!({"nodes": [step("a"), step("b"), step("c")], "edges": edges(&[("a", "b"), ("b", "c")])})
}

/// A → (B, C) → D.
pub(crate) fn diamond() -> Value {
    json!({"nodes": [step("a"), step("b"), step("c"), step("d")],
           "edges": edges(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])})
}

/// Waits for a person, for a month.
pub(crate) fn approval() -> Value {
    json!({"nodes": [{"id": "ask", "type": "hitl",
                      "config": {"message": "go on?", "timeout_ms": 2_592_000_000_u64}}],
           "edges": []})
}

/// One iteration for each of so many items.
pub(crate) fn each(items: u64, concurrency: u64) -> Value {
    let items: Vec<u64> = (0..items).collect();
    json!({"nodes": [{"id": "each", "type": "for_each",
                      "config": {"items": items, "concurrency": concurrency, "node": step("item")}}],
           "edges": []})
}
