//! A document becomes nodes and edges.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Edge, Invalid, Join, Limits, MAX_DOCUMENT, MAX_EDGES, Node, On, Options, PatchPolicy, Path,
    Retry, Workflow, approval,
    config::{self, Kind},
    graph,
    reader::Reader,
};
use crate::{expression, reference};

/// Longest time that a workflow may name: ten years.
pub(super) const MAX_MS: u64 = 10 * 365 * 86_400_000;
/// Longest id.
const MAX_ID: usize = 64;
/// Most levels of a document or an output.
pub(crate) const MAX_DEPTH: usize = 100;
/// How deep workflows may be written within one another.
const MAX_INNER: usize = 4;

pub(super) fn workflow(
    document: &Value,
    limits: &Limits,
    level: usize,
) -> Result<Workflow, Invalid> {
    let mut reader = Reader::default();
    let read = read(&mut reader, document, limits, level);
    match read {
        Some(workflow) if reader.mistakes.is_empty() => Ok(workflow),
        _ => Err(Invalid {
            mistakes: reader.mistakes,
        }),
    }
}

fn read(reader: &mut Reader, document: &Value, limits: &Limits, level: usize) -> Option<Workflow> {
    let Value::Object(top) = document else {
        reader.wrong(
            "",
            "a workflow has to be an object with `nodes` and `edges`",
        );
        return None;
    };
    if level > MAX_INNER {
        reader.wrong(
            "",
            format!("workflows within one another: {MAX_INNER} are the most"),
        );
        return None;
    }
    if too_deep(document, MAX_DEPTH) {
        reader.wrong(
            "",
            format!("it is too deep: {MAX_DEPTH} levels are the most"),
        );
        return None;
    }
    let length = length(document);
    if length > MAX_DOCUMENT {
        let message = format!("it is too large: {length} bytes, at most {MAX_DOCUMENT}");
        reader.wrong("", message);
        return None;
    }
    let nodes = list(reader, top, "nodes", true)?;
    let empty = Vec::new();
    let edges = list(reader, top, "edges", false).unwrap_or(&empty);
    if nodes.is_empty() {
        reader.wrong("/nodes", "a workflow needs at least one node");
    }
    if nodes.len() > limits.max_nodes {
        let message = format!(
            "too many nodes: {}, at most {}",
            nodes.len(),
            limits.max_nodes
        );
        reader.wrong("/nodes", message);
        return None;
    }
    if edges.len() > MAX_EDGES {
        let message = format!("too many edges: {}, at most {MAX_EDGES}", edges.len());
        reader.wrong("/edges", message);
        return None;
    }
    let index = ids(reader, nodes);
    let read = nodes
        .iter()
        .enumerate()
        .map(|(at, value)| node(reader, &format!("/nodes/{at}"), value, limits, level));
    let nodes: Vec<Option<Node>> = read.collect();
    // What cannot be read is left out of the graph, whose other mistakes are told nevertheless.
    let edges: Vec<Edge> = edges
        .iter()
        .enumerate()
        .filter_map(|(at, value)| edge(reader, at, value, &index))
        .collect();
    let options = options(reader, top);
    let nodes = nodes.into_iter().collect::<Option<Vec<Node>>>()?;
    for (at, node) in nodes.iter().enumerate() {
        references(
            reader,
            &format!("/nodes/{at}/config"),
            &node.config.value,
            &index,
        );
    }
    let (nodes, edges) = graph::connect(reader, nodes, edges, &index)?;
    for (at, node) in nodes.iter().enumerate() {
        let told = node.incoming.is_empty() || config::has_task(&node.config.value);
        if node.is_agent && !told {
            reader.wrong(format!("/nodes/{at}/config/task"), "`task` is missing");
        }
    }
    Some(Workflow {
        document: document.clone(),
        nodes,
        edges,
        index,
        options,
    })
}

fn list<'v>(
    reader: &mut Reader,
    top: &'v Map<String, Value>,
    key: &str,
    needed: bool,
) -> Option<&'v Vec<Value>> {
    match top.get(key) {
        Some(Value::Array(items)) => Some(items),
        None | Some(Value::Null) if !needed => None,
        None => {
            reader.wrong(format!("/{key}"), format!("`{key}` is missing"));
            None
        }
        Some(_) => {
            reader.wrong(format!("/{key}"), format!("`{key}` has to be a list"));
            None
        }
    }
}

/// Whether a value has more levels than that.
pub(crate) fn too_deep(value: &Value, levels: usize) -> bool {
    let deeper = |value: &Value| levels == 0 || too_deep(value, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(fields) => fields.values().any(deeper),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The length of its text.
pub(crate) fn length(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

fn ids(reader: &mut Reader, nodes: &[Value]) -> HashMap<Arc<str>, usize> {
    let mut index: HashMap<Arc<str>, usize> = HashMap::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        let path = format!("/nodes/{at}/id");
        match node.get("id") {
            Some(Value::String(id)) if is_id(id) => {
                if let Some(first) = index.get(id.as_str()) {
                    let message = format!("the id `{id}` is there twice: `/nodes/{first}` has it");
                    reader.wrong(path, message);
                } else {
                    index.insert(id.as_str().into(), at);
                }
            }
            None | Some(Value::Null) => reader.wrong(path, "`id` is missing"),
            Some(_) => {
                let message = "an id has 1 to 64 letters, digits, `_` and `-`";
                reader.wrong(path, message);
            }
        }
    }
    index
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.chars().all(expression::is_id)
}

fn node(
    reader: &mut Reader,
    at: &str,
    value: &Value,
    limits: &Limits,
    level: usize,
) -> Option<Node> {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or_else(|| {
        reader.wrong(at, "a node has to be an object");
        &empty
    });
    let id = fields
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| is_id(id));
    let subject = config::subject(reader, at, fields, limits, level);
    let retry = retry(reader, at, fields);
    let timeout_ms = reader.whole(at, fields, "timeout_ms", 0..=MAX_MS);
    let deadline_ms = reader.whole(at, fields, "deadline_ms", 1..=MAX_MS);
    let priority = priority(reader, at, fields);
    let queue = queue(reader, at, fields);
    let on_error = reader.one_of(at, fields, "on_error", &["fail", "continue"]);
    let cancel_rest = reader.flag(at, fields, "cancel_rest");
    let compensate = compensate(reader, at, fields, limits);
    let join = join(reader, at, fields);
    let kind_name = fields.get("type").and_then(Value::as_str);
    if subject.is_none() && kind_name == Some("loop") {
        // Whether there is a cycle without it cannot be told.
        return None;
    }
    let subject = subject.unwrap_or_else(config::Subject::nothing);
    // A node of the type `join` may have it among its configuration, where the others have theirs.
    let inner = match (&subject.kind, subject.config.value.as_object()) {
        (Kind::Pass, Some(config)) if join.is_none() => Some(config),
        _ => None,
    };
    let at_config = format!("{at}/config");
    let join = join.or_else(|| super::read::join(reader, &at_config, inner?));
    let cancel_rest = cancel_rest.or_else(|| reader.flag(&at_config, inner?, "cancel_rest"));
    Some(Node {
        id: id.unwrap_or("?").into(),
        kind: subject.kind,
        config: subject.config,
        join: join.unwrap_or(Join::All),
        cancel_rest: cancel_rest.unwrap_or(false),
        on_error_continue: on_error == Some("continue"),
        retry,
        timeout_ms: timeout_ms.filter(|ms| *ms > 0),
        deadline_ms,
        queue,
        priority,
        compensate,
        incoming: Vec::new(),
        outgoing: Vec::new(),
        loops: Vec::new(),
        is_agent: kind_name == Some("agent"),
    })
}

fn join(reader: &mut Reader, at: &str, fields: &Map<String, Value>) -> Option<Join> {
    match fields.get("join")? {
        Value::Null => None,
        Value::String(word) if word == "all" => Some(Join::All),
        Value::String(word) if word == "any" => Some(Join::Some(1)),
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 0) => {
            let number = number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            Some(Join::Some(number.unwrap_or(usize::MAX)))
        }
        _ => {
            reader.wrong(
                format!("{at}/join"),
                "`join` has to be `all`, `any` or a number",
            );
            None
        }
    }
}

pub(super) fn retry(reader: &mut Reader, at: &str, fields: &Map<String, Value>) -> Retry {
    let default = Retry::default();
    let Some(retry) = reader.object(at, fields, "retry") else {
        return default;
    };
    let at = format!("{at}/retry");
    let max_attempts = reader.whole(&at, retry, "max_attempts", 1..=100);
    let backoff_ms = reader.whole(&at, retry, "backoff_ms", 0..=86_400_000);
    let multiplier = reader.number(&at, retry, "backoff_multiplier", 1.0..=100.0);
    Retry {
        max_attempts: max_attempts
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(default.max_attempts),
        backoff_ms: backoff_ms.unwrap_or(default.backoff_ms),
        multiplier: multiplier.unwrap_or(default.multiplier),
    }
}

fn priority(reader: &mut Reader, at: &str, fields: &Map<String, Value>) -> Option<u8> {
    let priority = reader.whole(at, fields, "priority", 1..=5)?;
    u8::try_from(priority).ok()
}

fn queue(reader: &mut Reader, at: &str, fields: &Map<String, Value>) -> Option<String> {
    let queue = reader.text(at, fields, "queue")?;
    if !is_id(queue) {
        let message = "a queue's name has 1 to 64 letters, digits, `_` and `-`";
        reader.wrong(format!("{at}/queue"), message);
        return None;
    }
    Some(queue.to_owned())
}

fn compensate(
    reader: &mut Reader,
    at: &str,
    fields: &Map<String, Value>,
    limits: &Limits,
) -> Option<Arc<config::Subject>> {
    let inner = reader.object(at, fields, "compensate")?;
    let at = format!("{at}/compensate");
    let subject = config::subject(reader, &at, inner, limits, MAX_INNER)?;
    if !matches!(subject.kind, Kind::Job(_)) {
        let message = "only what is a job can compensate: an agent, a tool, a call, …";
        reader.wrong(format!("{at}/type"), message);
        return None;
    }
    Some(Arc::new(subject))
}

fn edge(
    reader: &mut Reader,
    place: usize,
    value: &Value,
    index: &HashMap<Arc<str>, usize>,
) -> Option<Edge> {
    let at = format!("/edges/{place}");
    let at = at.as_str();
    let Value::Object(fields) = value else {
        reader.wrong(at, "an edge has to be an object with `from` and `to`");
        return None;
    };
    let mut end = |key: &str| {
        let found = match fields.get(key) {
            Some(Value::String(id)) => index.get(id.as_str()).copied().ok_or_else(|| {
                let shown: String = id.chars().take(MAX_ID).collect();
                format!("there is no node `{shown}`")
            }),
            Some(_) => Err(format!("`{key}` has to be the id of a node")),
            None => Err(format!("`{key}` is missing")),
        };
        found
            .map_err(|message| reader.wrong(format!("{at}/{key}"), message))
            .ok()
    };
    let (from, to) = (end("from"), end("to"));
    let condition = reader.expression(at, fields, "condition", &expression::NAMES);
    let on = match reader.one_of(at, fields, "on", &["success", "failure", "always"]) {
        Some("failure") => On::Failure,
        Some("always") => On::Always,
        _ => On::Success,
    };
    Some(Edge {
        from: from?,
        to: to?,
        condition,
        on,
        path: Path::Either,
        holds: Vec::new(),
        place: Some(place),
    })
}

/// What holds for a whole run stands at the top, or in `metadata`.
fn options(reader: &mut Reader, top: &Map<String, Value>) -> Options {
    let metadata = match top.get("metadata") {
        Some(Value::Object(metadata)) => Some(metadata),
        None | Some(Value::Null) => None,
        Some(_) => {
            reader.wrong("/metadata", "`metadata` has to be an object");
            None
        }
    };
    let mut options = Options::default();
    let places = [("/metadata", metadata), ("", Some(top))];
    for (at, fields) in places
        .into_iter()
        .filter_map(|(at, fields)| Some((at, fields?)))
    {
        let deadline_ms = reader.whole(at, fields, "deadline_ms", 1..=MAX_MS);
        let max_agents = reader.whole(at, fields, "max_agents", 0..=10_000);
        let patches = match reader.one_of(at, fields, "patches", &["allow", "approve", "deny"]) {
            Some("allow") => Some(PatchPolicy::Allow),
            Some("approve") => Some(PatchPolicy::Approve),
            Some("deny") => Some(PatchPolicy::Deny),
            _ => None,
        };
        let asks = reader.object(at, fields, "patch_approval");
        let asks = asks.map(|asks| approval::read(reader, &format!("{at}/patch_approval"), asks));
        options.patch_approval = asks.or(options.patch_approval);
        options.deadline_ms = deadline_ms.or(options.deadline_ms);
        options.max_agents = max_agents
            .and_then(|agents| usize::try_from(agents).ok())
            .or(options.max_agents);
        options.patches = patches.unwrap_or(options.patches);
        options.queue = queue(reader, at, fields).or(options.queue);
        options.priority = priority(reader, at, fields).or(options.priority);
    }
    options
}

/// A key as a part of a JSON pointer (RFC 6901): `a/b` is `a~1b`.
pub(super) fn reference_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// References to nodes that are not there.
fn references(reader: &mut Reader, at: &str, value: &Value, index: &HashMap<Arc<str>, usize>) {
    match value {
        Value::String(text) => {
            for id in reference::nodes_of(text) {
                if !index.contains_key(id.as_str()) {
                    reader.wrong(at, format!("there is no node `{id}`"));
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                references(reader, &format!("{at}/{place}"), item, index);
            }
        }
        Value::Object(fields) => {
            // Workflows within it have nodes of their own.
            let inner = fields.get("nodes").is_some_and(Value::is_array);
            for (key, item) in fields.iter().filter(|_| !inner) {
                references(
                    reader,
                    &format!("{at}/{}", reference_token(key)),
                    item,
                    index,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
