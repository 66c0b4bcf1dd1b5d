//! Types of nodes, and their configuration.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Limits, Retry, approval,
    read::{self, MAX_MS},
    reader::Reader,
};
use crate::{
    expression::{self, Expression, ITEM_NAMES, NODE_NAMES},
    reference,
};

/// The configuration of a node.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) value: Arc<Value>,
    /// Something has to be filled in.
    pub(crate) refers: bool,
}

impl Config {
    fn new(value: Value) -> Self {
        Self {
            refers: reference::refers(&value),
            value: Arc::new(value),
        }
    }
}

/// What is done: of a node, of an item of a `for_each`, or to undo a node.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) config: Config,
    pub(crate) retry: Retry,
    pub(crate) timeout_ms: Option<u64>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// It runs somewhere else.
    Job(&'static str),
    Hitl,
    Conditional {
        /// Every edge whose condition holds, not those of the first one.
        all: bool,
    },
    Loop(Loop),
    ForEach(ForEach),
    SubWorkflow,
    Timer,
    Signal,
    Transform(Transform),
    Filter {
        items: Option<Expression>,
        test: Option<Expression>,
    },
    Aggregate {
        strategy: &'static str,
        field: Option<String>,
        expression: Option<Expression>,
    },
    /// It hands on what comes.
    Pass,
}

#[derive(Debug, Clone)]
pub(crate) struct Loop {
    pub(crate) max_iterations: u32,
    pub(crate) back_to_id: String,
    pub(crate) back_to: usize,
    pub(crate) condition: Option<Expression>,
    pub(crate) break_path: Vec<String>,
    pub(crate) timeout_path: Vec<String>,
    /// The nodes of an iteration, itself too.
    pub(crate) body: Vec<usize>,
    /// It is a function itself.
    pub(crate) is_job: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ForEach {
    /// Where the items come from, if they are not written out.
    pub(crate) items: Option<Expression>,
    pub(crate) item: Item,
    pub(crate) concurrency: usize,
    pub(crate) on_error_continue: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Workflow,
    Node(Arc<Subject>),
}

#[derive(Debug, Clone)]
pub(crate) enum Transform {
    Expression(Expression),
    Fields(Vec<(String, Expression)>),
    /// A value with references.
    Value,
    /// A transformation by its name.
    Named(&'static str),
    Nothing,
}

type Read = fn(&mut Reading<'_>, &Map<String, Value>) -> Option<Kind>;

/// A type of nodes.
struct Row {
    name: &'static str,
    read: Read,
}

struct Reading<'r> {
    reader: &'r mut Reader,
    /// Where the configuration stands.
    at: String,
    limits: &'r Limits,
    level: usize,
}

const fn row(name: &'static str, read: Read) -> Row {
    Row { name, read }
}

const TYPES: &[Row] = &[
    row("agent", agent),
    row("tool", tool),
    row("worker", worker),
    row("call", direct_call),
    row("pipeline", pipeline),
    row("http", http),
    row("hitl", hitl),
    row("conditional", conditional),
    row("loop", repeat),
    row("for_each", for_each),
    row("sub_workflow", sub_workflow),
    row("timer", timer),
    row("signal", signal),
    row("transform", transform),
    row("filter", filter),
    row("aggregate", aggregate),
    row("parallel", |_, _| Some(Kind::Pass)),
    row("join", |_, _| Some(Kind::Pass)),
    row("noop", |_, _| Some(Kind::Pass)),
    row("function", function),
    // Words of workflows that others wrote before.
    row("task", function),
    row("start", |_, _| Some(Kind::Pass)),
    row("end", |_, _| Some(Kind::Pass)),
];

/// Reads `type`, `config`, `retry` and `timeout_ms` of an object.
pub(super) fn subject(
    reader: &mut Reader,
    at: &str,
    fields: &Map<String, Value>,
    limits: &Limits,
    level: usize,
) -> Option<Subject> {
    let name = match fields.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => {
            reader.wrong(format!("{at}/type"), "`type` has to be a text");
            None
        }
        None => {
            reader.wrong(format!("{at}/type"), "`type` is missing");
            None
        }
    };
    let empty = Map::new();
    let config = match fields.get("config") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(config)) => config,
        Some(_) => {
            reader.wrong(format!("{at}/config"), "`config` has to be an object");
            return None;
        }
    };
    let name = name?;
    let Some(row) = TYPES.iter().find(|row| row.name == name) else {
        let known: Vec<_> = TYPES.iter().map(|row| row.name).collect();
        let shown: String = name.chars().take(64).collect();
        let message = format!("unknown type `{shown}`: there are {}", known.join(", "));
        reader.wrong(format!("{at}/type"), message);
        return None;
    };
    let mut reading = Reading {
        reader: &mut *reader,
        at: format!("{at}/config"),
        limits,
        level,
    };
    let kind = (row.read)(&mut reading, config)?;
    Some(Subject {
        kind,
        config: Config::new(Value::Object(config.clone())),
        retry: read::retry(reader, at, fields),
        timeout_ms: reader
            .whole(at, fields, "timeout_ms", 0..=MAX_MS)
            .filter(|ms| *ms > 0),
    })
}

/// Whether an agent knows what to do; a first one may be told by the inputs of the run.
pub(super) fn has_task(config: &Value) -> bool {
    let tasks = ["task", "prompt", "input"];
    let known = tasks
        .iter()
        .any(|key| config.get(key).is_some_and(|task| !task.is_null()));
    known || config.as_object().is_some_and(names_method)
}

impl Subject {
    /// In the place of what could not be read.
    pub(super) fn nothing() -> Self {
        Self {
            kind: Kind::Pass,
            config: Config::new(Value::Null),
            retry: Retry::default(),
            timeout_ms: None,
        }
    }
}

impl Kind {
    /// The function that it calls, if it is one.
    pub(crate) fn function(&self, config: &Value) -> Option<String> {
        match self {
            Self::Job("function") => {}
            Self::Loop(repeat) if repeat.is_job => {}
            _ => return None,
        }
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        match (text("service"), text("method")) {
            (Some(service), Some(method)) => Some(format!("{service} {method}")),
            _ => ["function_name", "handler", "action"]
                .into_iter()
                .find_map(text)
                .map_or_else(|| Some(String::new()), |name| Some(name.to_owned())),
        }
    }
}

fn agent(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    for key in ["task", "prompt", "input", "agent", "service", "method"] {
        r.reader.text(at, config, key);
    }
    r.reader.object(at, config, "parameters");
    r.reader.texts(at, config, "tool_ids");
    Some(Kind::Job("agent"))
}

/// A method of a service by its name.
fn names_method(config: &Map<String, Value>) -> bool {
    config.contains_key("service") && config.contains_key("method")
}

fn tool(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    who(r, config, &["tool", "tool_id", "service"]);
    if !names_method(config) {
        r.reader.needs_text(&r.at, config, "operation");
    }
    r.reader.object(&r.at, config, "parameters");
    Some(Kind::Job("tool"))
}

fn worker(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
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

fn direct_call(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    r.reader.needs_text(at, config, "service");
    r.reader.needs_text(at, config, "method");
    r.reader.object(at, config, "payload");
    r.reader.object(at, config, "metadata");
    Some(Kind::Job("call"))
}

fn pipeline(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let key = if config.contains_key("task") {
        "task"
    } else {
        "goal"
    };
    r.reader.needs_text(&r.at, config, key);
    Some(Kind::Job("pipeline"))
}

fn http(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
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
                let key = key.replace('~', "~0").replace('/', "~1");
                r.reader
                    .wrong(format!("{at}/headers/{key}"), "a header has to be a text");
            }
        }
    }
    Some(Kind::Job("http"))
}

fn function(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
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

fn hitl(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    approval::read(r.reader, &r.at, config);
    Some(Kind::Hitl)
}

fn conditional(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let word = r.reader.one_of(&r.at, config, "match", &["first", "all"]);
    Some(Kind::Conditional {
        all: word == Some("all"),
    })
}

fn repeat(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = r.at.clone();
    if !config.contains_key("max_iterations") {
        r.reader.wrong(
            format!("{at}/max_iterations"),
            "`max_iterations` is missing",
        );
    }
    let max_iterations = r.reader.whole(&at, config, "max_iterations", 1..=1000);
    r.reader.needs_text(&at, config, "loop_back_to");
    let condition = r.reader.expression(&at, config, "condition", &NODE_NAMES);
    let is_job = ["function_name", "service"]
        .iter()
        .any(|key| config.contains_key(*key));
    if is_job {
        function(r, config);
    }
    Some(Kind::Loop(Loop {
        max_iterations: u32::try_from(max_iterations.unwrap_or(1)).unwrap_or(1),
        back_to_id: config
            .get("loop_back_to")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        back_to: 0,
        condition,
        break_path: r
            .reader
            .texts(&at, config, "break_path")
            .unwrap_or_default(),
        timeout_path: r
            .reader
            .texts(&at, config, "timeout_path")
            .unwrap_or_default(),
        body: Vec::new(),
        is_job,
    }))
}

fn for_each(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = r.at.clone();
    let items = match config.get("items") {
        Some(Value::Array(items)) if items.len() <= super::MAX_ITEMS => None,
        Some(Value::Array(items)) => {
            let message = format!("{} items, at most {}", items.len(), super::MAX_ITEMS);
            r.reader.wrong(format!("{at}/items"), message);
            None
        }
        Some(Value::String(_)) => r.reader.expression(&at, config, "items", &NODE_NAMES),
        Some(_) => {
            let message = "`items` has to be a list, or an expression for one";
            r.reader.wrong(format!("{at}/items"), message);
            None
        }
        None => {
            r.reader.wrong(format!("{at}/items"), "`items` is missing");
            None
        }
    };
    let concurrency = r
        .reader
        .whole(&at, config, "concurrency", 1..=1000)
        .unwrap_or(10);
    let on_error = r
        .reader
        .one_of(&at, config, "on_error", &["fail", "continue"]);
    let item = match (config.get("workflow"), config.get("node")) {
        (Some(_), None) => {
            workflow_of(r, config);
            r.reader.object(&at, config, "inputs");
            Item::Workflow
        }
        (None, Some(Value::Object(node))) => {
            let at = format!("{at}/node");
            let subject = subject(r.reader, &at, node, r.limits, r.level)?;
            let fits = matches!(subject.kind, Kind::Job(_) | Kind::Pass | Kind::Transform(_));
            if !fits {
                let message =
                    "an item is a job, a `transform` or a `noop`; for others take `workflow`";
                r.reader.wrong(format!("{at}/type"), message);
                return None;
            }
            Item::Node(Arc::new(subject))
        }
        (None, Some(_)) => {
            r.reader
                .wrong(format!("{at}/node"), "`node` has to be an object");
            return None;
        }
        (Some(_), Some(_)) => {
            r.reader.wrong(at, "either `workflow` or `node`, not both");
            return None;
        }
        (None, None) => {
            r.reader.wrong(at, "`workflow` or `node` is missing");
            return None;
        }
    };
    Some(Kind::ForEach(ForEach {
        items,
        item,
        concurrency: usize::try_from(concurrency).unwrap_or(10),
        on_error_continue: on_error == Some("continue"),
    }))
}

/// A tag, or a whole workflow, which is checked too.
fn workflow_of(r: &mut Reading<'_>, config: &Map<String, Value>) {
    let at = format!("{}/workflow", r.at);
    match config.get("workflow") {
        Some(Value::String(tag)) if !tag.trim().is_empty() => {}
        Some(document @ Value::Object(_)) => {
            if let Err(invalid) = read::workflow(document, r.limits, r.level + 1) {
                for mistake in invalid.mistakes {
                    r.reader
                        .wrong(format!("{at}{}", mistake.path), mistake.message);
                }
            }
        }
        Some(_) => r
            .reader
            .wrong(at, "`workflow` has to be a tag or a workflow"),
        None => r.reader.wrong(at, "`workflow` is missing"),
    }
}

fn sub_workflow(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    workflow_of(r, config);
    r.reader.object(&r.at, config, "inputs");
    Some(Kind::SubWorkflow)
}

fn timer(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    r.reader.whole(at, config, "duration_ms", 0..=MAX_MS);
    match (config.contains_key("duration_ms"), config.get("until")) {
        (false, None) => r
            .reader
            .wrong(at.as_str(), "`duration_ms` or `until` is missing"),
        (true, Some(_)) => r
            .reader
            .wrong(at.as_str(), "either `duration_ms` or `until`, not both"),
        (false, Some(Value::String(text))) => {
            if !reference::is_reference(text) && expression::parse_time(text).is_none() {
                let message =
                    "`until` has to be a time as of RFC 3339, such as 2030-01-31T12:00:00Z";
                r.reader.wrong(format!("{at}/until"), message);
            }
        }
        (false, Some(Value::Number(_))) => {
            r.reader.whole(at, config, "until", 0..=u64::MAX / 2);
        }
        (false, Some(_)) => r
            .reader
            .wrong(format!("{at}/until"), "`until` has to be a time"),
        (true, None) => {}
    }
    Some(Kind::Timer)
}

fn signal(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    r.reader.needs_text(&r.at, config, "name");
    r.reader.whole(&r.at, config, "timeout_ms", 1..=MAX_MS);
    Some(Kind::Signal)
}

/// Transformations by name.
const TRANSFORMATIONS: [&str; 4] = ["uppercase", "lowercase", "trim", "normalize"];

fn transform(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = r.at.clone();
    let ways = ["expression", "fields", "value", "transformation"];
    let given: Vec<_> = ways
        .iter()
        .filter(|way| config.contains_key(**way))
        .collect();
    if given.len() > 1 {
        let message = "only one of `expression`, `fields`, `value` and `transformation`";
        r.reader.wrong(at.as_str(), message);
    }
    if let Some(fields) = r.reader.object(&at, config, "fields") {
        let at = format!("{at}/fields");
        let fields = fields.iter().filter_map(|(key, _)| {
            let expression = r.reader.expression(&at, fields, key, &ITEM_NAMES)?;
            Some((key.clone(), expression))
        });
        return Some(Kind::Transform(Transform::Fields(fields.collect())));
    }
    if let Some(expression) = r.reader.expression(&at, config, "expression", &ITEM_NAMES) {
        return Some(Kind::Transform(Transform::Expression(expression)));
    }
    if config.contains_key("value") {
        return Some(Kind::Transform(Transform::Value));
    }
    let name = r
        .reader
        .one_of(&at, config, "transformation", &TRANSFORMATIONS);
    let known = TRANSFORMATIONS.iter().find(|known| Some(**known) == name);
    Some(Kind::Transform(
        known.map_or(Transform::Nothing, |name| Transform::Named(name)),
    ))
}

fn filter(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    let items = match config.get("items") {
        Some(Value::Array(_)) => None,
        _ => r.reader.expression(at, config, "items", &NODE_NAMES),
    };
    let tests = ["expression", "condition", "filter_expression"];
    let given: Vec<_> = tests
        .iter()
        .filter(|key| config.contains_key(**key))
        .collect();
    if given.is_empty() {
        r.reader
            .wrong(format!("{at}/expression"), "`expression` is missing");
    }
    let test = given
        .first()
        .and_then(|key| r.reader.expression(at, config, key, &ITEM_NAMES));
    Some(Kind::Filter { items, test })
}

/// What `aggregate` can do.
pub(crate) const STRATEGIES: [&str; 12] = [
    "merge", "union", "concat", "list", "object", "first", "last", "count", "sum", "min", "max",
    "avg",
];

fn aggregate(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    let name = r.reader.one_of(at, config, "strategy", &STRATEGIES);
    let strategy = STRATEGIES.iter().find(|known| Some(**known) == name);
    let field = r.reader.text(at, config, "field");
    Some(Kind::Aggregate {
        strategy: strategy.copied().unwrap_or("merge"),
        field: field.map(str::to_owned),
        expression: r.reader.expression(at, config, "expression", &NODE_NAMES),
    })
}
