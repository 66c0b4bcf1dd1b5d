//! Texts about agents, tools and workers, and the files of runs.

use std::sync::Arc;

use directory::Service;
use dynamic::{CallHead, DynamicClient, MethodRoute};
use prost::Message as _;
use proto::agentplatform::{ToolParameter, ToolRequest, ToolResponse};
use serde_json::{Value, json};
use service::ServiceKind;

use super::{
    about::{About, scheme},
    forward, mounts, prompts,
    snapshot::{CatalogView, MeshResource},
};
use crate::{
    CallError,
    rpc::code,
    text::{MAX_DESCRIPTION, MAX_TITLE, clean},
};

const MARKDOWN: &str = "text/markdown";
/// The tool that keeps the files of runs.
pub const FILES: &str = "tool-fs";
const EXECUTE_TOOL: &str = "agentplatform.ToolService/ExecuteTool";
/// Completions at most, as MCP has it.
const MAX_COMPLETIONS: usize = 100;

/// The text about a service; `None` for a foreign one.
pub(super) fn of(service: &Service, about: &About, version: u64) -> Option<MeshResource> {
    let uri = format!("{}://{}", scheme(service.kind)?, service.public_id);
    let (title, description) = (
        clean(&about.name, MAX_TITLE),
        clean(&about.description, MAX_DESCRIPTION),
    );
    let entry = json!({
        "uri": uri,
        "name": service.public_id,
        "title": title,
        "description": description,
        "mimeType": MARKDOWN,
    });
    Some(MeshResource {
        uri,
        name: service.public_id.clone(),
        title,
        description,
        mime_type: MARKDOWN,
        text: Some(text(service, about).into()),
        json: entry.to_string().into(),
        service: Arc::clone(&service.name),
        version,
    })
}

fn text(service: &Service, about: &About) -> String {
    let line = |text: &str| clean(text, 4 * MAX_DESCRIPTION);
    let mut text = format!("# {}\n\n", line(&about.name));
    let what = match service.kind {
        ServiceKind::Agent => "an agent",
        ServiceKind::Worker => "a worker",
        _ => "a tool",
    };
    text.push_str(&format!(
        "`{}` is {what} of the mesh, `{}` in the registry",
        service.public_id, service.name
    ));
    if !service.version.is_empty() {
        text.push_str(&format!(", version {}", line(&service.version)));
    }
    text.push_str(".\n");
    for (title, body) in [
        ("", &about.description),
        ("", &about.details),
        ("How it works", &about.how_it_works),
        ("What it answers", &about.return_format),
    ] {
        let body = line(body);
        if body.is_empty() || text.contains(&body) {
            continue;
        }
        if !title.is_empty() {
            text.push_str(&format!("\n## {title}\n"));
        }
        text.push_str(&format!("\n{body}\n"));
    }
    if !about.use_cases.is_empty() {
        text.push_str("\n## What it is for\n\n");
        for case in &about.use_cases {
            text.push_str(&format!("- {}\n", line(case)));
        }
    }
    if about.operations.is_empty() && !about.parameters.is_empty() {
        text.push_str("\n## Parameters\n\n");
        parameters(&mut text, "", &about.parameters);
    }
    if !about.operations.is_empty() {
        text.push_str("\n## Operations\n\n");
        for operation in &about.operations {
            let (name, about) = (line(&operation.name), line(&operation.description));
            text.push_str(&format!("- `{name}`: {about}\n"));
            parameters(&mut text, "  ", &operation.parameters);
        }
    }
    text.push_str("\n## Instances\n\n");
    if service.instances().is_empty() {
        text.push_str("None.\n");
    }
    for instance in service.instances() {
        let (id, health) = (line(&instance.key.id), instance.health.name());
        text.push_str(&format!(
            "- `{id}` at {}: {health}\n",
            line(&instance.authority())
        ));
    }
    text
}

fn parameters(text: &mut String, indent: &str, parameters: &[ToolParameter]) {
    for parameter in parameters {
        let line = |text: &str| clean(text, MAX_DESCRIPTION);
        let required = if parameter.required { ", required" } else { "" };
        let (name, kind) = (line(&parameter.name), line(&parameter.r#type));
        let about = line(&parameter.description);
        text.push_str(&format!("{indent}- `{name}` ({kind}{required}): {about}\n"));
    }
}

/// The entries of `resources/templates/list`.
#[must_use]
pub fn templates() -> Vec<Value> {
    let template = |uri: &str, name: &str, title: &str, about: &str| {
        json!({"uriTemplate": uri, "name": name, "title": title, "description": about,
            "mimeType": MARKDOWN})
    };
    vec![
        template(
            "agent://{id}",
            "agent",
            "Agent",
            "What an agent does, and its instances",
        ),
        template(
            "tool://{id}",
            "tool",
            "Tool",
            "What a tool does, its operations and its instances",
        ),
        template(
            "worker://{id}",
            "worker",
            "Worker",
            "What a worker does, its parameters and its instances",
        ),
        json!({"uriTemplate": "run://{run_id}/{+file}", "name": "run", "title": "File of a run",
            "description": "A file that a run of the pipeline wrote, such as report.md"}),
    ]
}

/// The answer to `resources/read`.
///
/// # Errors
/// `INVALID_PARAMS` with `data.uri` for one that is not there, `INTERNAL_ERROR` when it cannot be read now.
pub async fn read(
    view: &CatalogView,
    client: &DynamicClient,
    uri: &str,
    head: CallHead,
) -> Result<Value, CallError> {
    let contents = |mime: &str, text: &str| json!({"contents": [{"uri": uri, "mimeType": mime, "text": text}]});
    if let Some(resource) = view.resource(uri) {
        return match &resource.text {
            Some(text) => Ok(contents(resource.mime_type, text)),
            None => read_mounted(client, &resource.service, uri, head).await,
        };
    }
    if let Some((service, _)) = forward::resource(view, uri) {
        return read_mounted(client, &service, uri, head).await;
    }
    let (run, file) = run_file(uri).ok_or_else(|| unknown(uri))?;
    let result = files(view, client, head, "file_read_safe", &run, Some(&file)).await?;
    let result = result.ok_or_else(|| unknown(uri))?;
    let text = result["content"].as_str().unwrap_or_default();
    Ok(contents(mime_type(&file), text))
}

/// A resource of a mount, which names it otherwise.
async fn read_mounted(
    client: &DynamicClient,
    service: &Arc<str>,
    uri: &str,
    head: CallHead,
) -> Result<Value, CallError> {
    let inner = mounts::inner_uri(service, uri).unwrap_or_default();
    let params = json!({ "uri": inner });
    let asked = forward::ask(client, service, "resources/read", params, head).await;
    let result = asked.map_err(|error| match error.code {
        code::INTERNAL_ERROR => error,
        _ => unknown(uri),
    })?;
    mounts::contents(result, service).ok_or_else(|| {
        CallError::internal("the mounted server's answer holds no contents of a resource")
    })
}

/// What a variable of a template or an argument of a prompt may be, for what is typed so far.
///
/// # Errors
/// `INVALID_PARAMS` for a reference that is none, `INTERNAL_ERROR` when the files of a run cannot be listed now.
pub async fn complete(
    view: &CatalogView,
    client: &DynamicClient,
    params: &Value,
    head: CallHead,
) -> Result<Value, CallError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (reference, argument) = (&params["ref"], &params["argument"]);
    let (name, typed) = (text(&argument["name"]), text(&argument["value"]));
    let values = match reference["type"].as_str() {
        Some("ref/prompt") => {
            let prompt = text(&reference["name"]);
            if let Some(known) = view.prompt(&prompt).filter(|it| it.of_server.is_some()) {
                return forward::complete_prompt(client, known, params.clone(), head).await;
            }
            prompts::complete(view, &prompt, &name, &typed)
        }
        Some("ref/resource") => {
            let uri = text(&reference["uri"]);
            let run = text(&params["context"]["arguments"]["run_id"]);
            match uri.split_once("://") {
                Some(("run", _)) if name == "file" && !run.is_empty() => {
                    let listed = files(view, client, head, "file_list", &run, None).await?;
                    let listed = listed.unwrap_or_default();
                    let paths = listed["files"].as_array().into_iter().flatten();
                    let paths = paths.filter_map(|file| file["path"].as_str());
                    paths
                        .filter(|path| path.starts_with(&typed))
                        .map(str::to_owned)
                        .collect()
                }
                Some((kind, _)) if name == "id" => {
                    let begin = format!("{kind}://{typed}");
                    let begun = view
                        .resources
                        .iter()
                        .filter(|it| it.uri.starts_with(&begin));
                    begun.map(|resource| resource.name.clone()).collect()
                }
                _ => Vec::new(),
            }
        }
        _ => {
            let text = "`ref` is neither of type ref/prompt nor of ref/resource";
            return Err(CallError::invalid_params(text));
        }
    };
    Ok(completion(values))
}

/// The answer to `completion/complete` that has these values, as many as there may be.
#[must_use]
pub fn completion(mut values: Vec<String>) -> Value {
    let total = values.len();
    values.truncate(MAX_COMPLETIONS);
    let more = total > values.len();
    json!({"completion": {"values": values, "total": total, "hasMore": more}})
}

/// The error about a resource that is not there.
fn unknown(uri: &str) -> CallError {
    let mut error = CallError::invalid_params("Resource not found");
    error.data = Some(json!({"uri": uri}));
    error
}

/// The run and the file of `run://{run_id}/{file}`.
fn run_file(uri: &str) -> Option<(String, String)> {
    let (run, file) = uri.strip_prefix("run://")?.split_once('/')?;
    let (run, file) = (unescaped(run)?, unescaped(file)?);
    (!run.is_empty() && !file.is_empty()).then_some((run, file))
}

/// A part of a URI without its `%` escapes; `None` when they are no text.
fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn mime_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("md" | "markdown") => MARKDOWN,
        Some("json") => "application/json",
        Some("jsonl") => "application/jsonl",
        Some("html") => "text/html",
        Some("csv") => "text/csv",
        _ => "text/plain",
    }
}

/// The result of an operation on the files of a run; `None` when the tool rejects it: no such run or file.
async fn files(
    view: &CatalogView,
    client: &DynamicClient,
    head: CallHead,
    operation: &str,
    run: &str,
    path: Option<&str>,
) -> Result<Option<Value>, CallError> {
    // Who does not see the tool does not see its files.
    let wanted = |tool: &Arc<crate::MeshTool>| *tool.service == *FILES;
    let Some(tool) = view.tools.iter().find(|tool| wanted(tool)) else {
        return Ok(None);
    };
    let failed = |status: tonic::Status| {
        let text = format!("the files of the run cannot be read: {}", status.message());
        CallError::internal(text)
    };
    let route = MethodRoute::new(&tool.service, EXECUTE_TOOL).map_err(failed)?;
    let request = ToolRequest {
        tool_id: tool.public_id.to_string(),
        operation: operation.to_owned(),
        parameters: path
            .map(|path| ("path".to_owned(), path.to_owned()))
            .into_iter()
            .collect(),
        session_id: run.to_owned(),
    };
    let head = CallHead {
        session: run.to_owned(),
        ..head
    };
    let sent = client.send_bytes(&route, head, vec![request.encode_to_vec().into()]);
    let mut answer = sent.await.map_err(failed)?;
    let message = answer.next().await.map_err(failed)?.unwrap_or_default();
    let answer = ToolResponse::decode(message);
    let answer = answer.map_err(|error| CallError::internal(error.to_string()))?;
    if !answer.success {
        return Ok(None);
    }
    let result = serde_json::from_str(&answer.result);
    result
        .map(Some)
        .map_err(|error| CallError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_run_is_named_by_its_uri() {
        let found = |uri| run_file(uri).map(|(run, file)| format!("{run}|{file}"));
        assert_eq!(found("run://r1/report.md").as_deref(), Some("r1|report.md"));
        assert_eq!(found("run://r%201/a/b%2Fc").as_deref(), Some("r 1|a/b/c"));
        for uri in [
            "run://r1",
            "run://r1/",
            "run:///a",
            "run://r1/%f",
            "run://r1/%ff",
            "agent://a/b",
        ] {
            assert_eq!(found(uri), None, "{uri}");
        }
    }

    #[test]
    fn templates_name_every_kind() {
        let templates = templates();
        let uris: Vec<_> = templates
            .iter()
            .map(|it| it["uriTemplate"].as_str())
            .collect();
        assert_eq!(uris.len(), 4);
        assert!(uris.contains(&Some("run://{run_id}/{+file}")));
    }
}
