//! Nodes that say which others follow, and how often.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{ForEach, Item, Kind, Loop, Reading, jobs, subject};
use crate::{
    expression::NODE_NAMES,
    workflow::{MAX_ITEMS, read},
};

pub(super) fn conditional(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let word = r.reader.one_of(&r.at, config, "match", &["first", "all"]);
    Some(Kind::Conditional {
        all: word == Some("all"),
    })
}

pub(super) fn repeat(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
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
        jobs::function(r, config);
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

pub(super) fn for_each(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = r.at.clone();
    let items = match config.get("items") {
        Some(Value::Array(items)) if items.len() <= MAX_ITEMS => None,
        Some(Value::Array(items)) => {
            let message = format!("{} items, at most {}", items.len(), MAX_ITEMS);
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

pub(super) fn sub_workflow(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    workflow_of(r, config);
    r.reader.object(&r.at, config, "inputs");
    Some(Kind::SubWorkflow)
}
