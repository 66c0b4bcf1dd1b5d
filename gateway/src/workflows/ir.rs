//! A graph as clients of runs draw it: nodes by their ids, each with those before and after it.

use serde_json::{Map, Value, json};

/// The graph of a workflow. Loops lead back by `loop_back_to`, and on by their paths.
pub(crate) fn graph(document: &Value) -> Value {
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let (nodes, edges) = (list("nodes"), list("edges"));
    let mut by_id = Map::new();
    for node in &nodes {
        let Some(id) = node["id"].as_str() else {
            continue;
        };
        let after = targets(id, &edges);
        let before = edges.iter().filter(|edge| edge["to"] == id);
        let before: Vec<&Value> = before.map(|edge| &edge["from"]).collect();
        let rules = rules(id, &edges);
        let mut shown = node.clone();
        shown["dependents"] = json!(after);
        shown["wait_for_all"] = json!(before.len() > 1);
        shown["dependencies"] = json!(before);
        shown["is_terminal"] = json!(after.is_empty() && node["type"] != "loop");
        if !rules.is_empty() {
            let default = edges
                .iter()
                .filter(|edge| edge["from"] == id && condition(edge).is_none());
            let default: Vec<&Value> = default.map(|edge| &edge["to"]).collect();
            shown["branch"] =
                json!({"enabled": true, "type": "conditional", "rules": rules, "default": default});
        }
        if node["type"] == "loop" {
            shown["loop"] = loop_of(&node["config"]);
        }
        by_id.insert(id.to_owned(), shown);
    }
    json!({
        "version": "1.0",
        "nodes": by_id,
        "edges": edges,
        "metadata": document.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// How many nodes a document has.
pub(crate) fn nodes(document: &Value) -> usize {
    document["nodes"].as_array().map_or(0, Vec::len)
}

/// The nodes that call a function, each with the service that it asks for.
pub(crate) fn functions(document: &Value) -> Vec<(String, String)> {
    let nodes = document["nodes"].as_array().into_iter().flatten();
    let functions = nodes.filter_map(|node| {
        if !["function", "task", "loop"].contains(&node["type"].as_str()?) {
            return None;
        }
        let config = &node["config"];
        let named = ["service", "function_name", "function", "action"];
        let name = named.iter().find_map(|name| config[*name].as_str())?;
        let service = name.split_once('/').map_or(name, |(service, _)| service);
        Some((node["id"].as_str()?.to_owned(), service.to_owned()))
    });
    functions.collect()
}

fn targets<'a>(id: &str, edges: &'a [Value]) -> Vec<&'a Value> {
    let from = edges.iter().filter(|edge| edge["from"] == id);
    from.map(|edge| &edge["to"]).collect()
}

fn condition(edge: &Value) -> Option<&str> {
    edge["condition"].as_str().filter(|text| !text.is_empty())
}

fn rules(id: &str, edges: &[Value]) -> Vec<Value> {
    let from = edges.iter().filter(|edge| edge["from"] == id);
    let rules = from.filter_map(|edge| {
        let expression = condition(edge)?;
        Some(json!({
            "condition": {"type": "cel", "expression": expression},
            "next_nodes": [edge["to"]],
        }))
    });
    rules.collect()
}

fn loop_of(config: &Value) -> Value {
    let path = |name: &str| match &config[name] {
        Value::String(node) => json!([node]),
        Value::Array(nodes) => json!(nodes),
        _ => json!([]),
    };
    let mut shown = json!({
        "enabled": true,
        "max_iterations": config["max_iterations"],
        "loop_back_to": config["loop_back_to"],
        "break_path": path("break_path"),
        "timeout_path": path("timeout_path"),
    });
    if let Some(expression) = config["condition"].as_str() {
        shown["condition"] = json!({"type": "cel", "expression": expression});
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_its_nodes_by_id_and_says_what_leads_where() {
        let document = json!({
            "nodes": [{"id": "a", "type": "noop"}, {"id": "b", "type": "conditional"},
                {"id": "c", "type": "noop", "config": {"x": 1}},
                {"id": "l", "type": "loop", "config": {"max_iterations": 3, "loop_back_to": "a",
                    "condition": "output.again", "break_path": ["c"]}}],
            "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c", "condition": "output.x > 1"},
                {"from": "b", "to": "l"}],
        });
        let graph = graph(&document);
        let nodes = &graph["nodes"];
        assert_eq!(nodes["a"]["dependents"], json!(["b"]));
        assert_eq!(nodes["b"]["dependents"], json!(["c", "l"]));
        assert_eq!(nodes["b"]["dependencies"], json!(["a"]));
        assert_eq!(nodes["b"]["branch"]["rules"][0]["next_nodes"], json!(["c"]));
        assert_eq!(nodes["b"]["branch"]["default"], json!(["l"]));
        assert_eq!(nodes["l"]["loop"]["break_path"], json!(["c"]));
        assert_eq!(
            (&nodes["c"]["is_terminal"], &nodes["a"]["is_terminal"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(nodes["c"]["config"]["x"], 1);
        assert_eq!(graph["edges"].as_array().unwrap().len(), 3);
        assert_eq!(super::nodes(&document), 4);
    }
}
