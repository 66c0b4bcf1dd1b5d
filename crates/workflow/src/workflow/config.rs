//! Types of nodes, and their configuration: a file for each group of types.

mod data;
mod flow;
mod jobs;
mod waits;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Limits, Retry,
    read::{self, MAX_MS},
    reader::Reader,
};
use crate::{expression::Expression, reference};

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
    row("agent", jobs::agent),
    row("tool", jobs::tool),
    row("worker", jobs::worker),
    row("call", jobs::direct_call),
    row("pipeline", jobs::pipeline),
    row("http", jobs::http),
    row("hitl", waits::hitl),
    row("conditional", flow::conditional),
    row("loop", flow::repeat),
    row("for_each", flow::for_each),
    row("sub_workflow", flow::sub_workflow),
    row("timer", waits::timer),
    row("signal", waits::signal),
    row("transform", data::transform),
    row("filter", data::filter),
    row("aggregate", data::aggregate),
    row("parallel", |_, _| Some(Kind::Pass)),
    row("join", |_, _| Some(Kind::Pass)),
    row("noop", |_, _| Some(Kind::Pass)),
    row("function", jobs::function),
    // Words of workflows that others wrote before.
    row("task", jobs::function),
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
    known || config.as_object().is_some_and(jobs::names_method)
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
