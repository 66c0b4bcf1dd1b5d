//! What mounted MCP servers offer, as they describe it themselves.

use std::{sync::Arc, time::Duration};

use channel::Mesh;
use proto::mesh::v1::McpMessage;
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::{Status, Streaming, metadata::MetadataMap};

use super::snapshot::{MeshPrompt, MeshResource};
use crate::{
    Annotations, MountClient, ToolDefinition,
    mounted::pauses,
    rpc::{self, Message},
    text::{MAX_DESCRIPTION, MAX_TITLE, clean},
};

/// Longest time for one page of a list.
const PATIENCE: Duration = Duration::from_secs(3);
/// Entries of one list, and pages, at most.
const MAX_ENTRIES: usize = 1_000;
const MAX_PAGES: usize = 100;
/// Largest definition of a tool or a resource, bytes, and of all of one list together.
const MAX_DEFINITION: usize = 256 << 10;
const MAX_LIST: usize = 16 << 20;
/// Changes of a mount's lists that come within this time are one.
const TOGETHER: Duration = Duration::from_millis(200);
/// What addresses of their resources begin with.
pub(super) const SCHEME: &str = "mount://";
/// The revision that mounts are asked in.
const REVISION: &str = "2026-07-28";

/// All entries of a list, `tools` for `tools/list`, as far as there is room for them.
pub(super) async fn list(
    client: &MountClient,
    service: &str,
    of: &str,
) -> Result<Vec<Value>, Status> {
    let (mut entries, mut cursor, mut room) = (Vec::new(), None, MAX_LIST);
    for _ in 0..MAX_PAGES {
        let mut params = json!({});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor;
        }
        let method = format!("{of}/list");
        let asked = ask(client, service, &method, params);
        let silent = || Status::deadline_exceeded(format!("no answer within {PATIENCE:?}"));
        let mut page = timeout(PATIENCE, asked).await.map_err(|_| silent())??;
        if let Some(Value::Array(found)) = page.get_mut(of).map(Value::take) {
            for entry in found {
                let size = entry.to_string().len();
                if entries.len() == MAX_ENTRIES || size > room {
                    return Ok(entries);
                }
                room -= size;
                entries.push(entry);
            }
        }
        cursor = page.get("nextCursor").filter(|it| it.is_string()).cloned();
        if cursor.is_none() {
            break;
        }
    }
    Ok(entries)
}

/// The result of one request.
async fn ask(
    client: &MountClient,
    service: &str,
    method: &str,
    params: Value,
) -> Result<Map<String, Value>, Status> {
    let message = request(method, params);
    let mut answers = client.call(service, message, MetadataMap::new()).await?;
    while let Some(answer) = answers.message().await? {
        let Ok(Message::Response(response)) = rpc::parse_one(&answer.message) else {
            continue;
        };
        return match response.outcome {
            Ok(result) => serde_json::from_str(result.get())
                .map_err(|_| Status::internal(format!("the answer to {method} is no object"))),
            Err(error) => {
                let error: Value = serde_json::from_str(error.get()).unwrap_or_default();
                let text = error["message"].as_str().unwrap_or("no reason").to_owned();
                Err(Status::unavailable(format!("{method}: {text}")))
            }
        };
    }
    Err(Status::unavailable(format!(
        "{method} ended without an answer"
    )))
}

/// A request of ours, as a client of the latest revision without capabilities.
#[must_use]
pub fn request(method: &str, mut params: Value) -> Vec<u8> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo":
            {"name": "mesh-gateway", "version": env!("CARGO_PKG_VERSION")},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    request.to_string().into_bytes()
}

/// Tells `changed` whenever the lists of a mount have changed, or may have.
pub(super) async fn listen(mesh: Mesh, service: Arc<str>, changed: mpsc::Sender<Arc<str>>) {
    let client = MountClient::new(mesh);
    let mut pauses = pauses();
    loop {
        let wanted = json!({"notifications":
            {"toolsListChanged": true, "resourcesListChanged": true, "promptsListChanged": true}});
        let message = request("subscriptions/listen", wanted);
        if let Ok(mut events) = client.call(&service, message, MetadataMap::new()).await {
            while let Ok(Some(event)) = events.message().await {
                let Ok(Message::Notification(told)) = rpc::parse_one(&event.message) else {
                    break;
                };
                let is_change = told.method.ends_with("/list_changed");
                if told.method == "notifications/subscriptions/acknowledged" {
                    pauses.reset();
                }
                if !is_change {
                    continue;
                }
                // A server may tell of changes without end: those of a moment are one.
                if gather(&mut events).await.is_err() {
                    break;
                }
                if changed.send(Arc::clone(&service)).await.is_err() {
                    return;
                }
            }
        }
        let pause = pauses.after_failure(&mut rand::rng());
        sleep(pause).await;
        // What was told meanwhile was not heard.
        if changed.send(Arc::clone(&service)).await.is_err() {
            return;
        }
    }
}

/// Takes what is told within a moment. An error is the end of the stream.
async fn gather(events: &mut Streaming<McpMessage>) -> Result<(), Status> {
    let end = Instant::now() + TOGETHER;
    while let Ok(event) = timeout_at(end, events.message()).await {
        if event?.is_none() {
            return Err(Status::unavailable("it has ended"));
        }
        if Instant::now() >= end {
            break;
        }
    }
    Ok(())
}

/// A tool as its server describes it, and the server's name for it; `None` for what is no description.
pub(super) fn definition(entry: Value) -> Option<(String, ToolDefinition)> {
    if entry.to_string().len() > MAX_DEFINITION {
        return None;
    }
    let Value::Object(mut fields) = entry else {
        return None;
    };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (name, title, description) = (text("name"), text("title"), text("description"));
    let hints = fields.remove("annotations").unwrap_or_default();
    let hint = |name: &str| hints[name].as_bool();
    let title = match title.is_empty() {
        true => hints["title"].as_str().unwrap_or_default(),
        false => &title,
    };
    let input_schema = fields.remove("inputSchema").filter(Value::is_object)?;
    let definition = ToolDefinition {
        title: clean(title, MAX_TITLE),
        description: clean(&description, MAX_DESCRIPTION),
        annotations: Annotations {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
            idempotent: hint("idempotentHint"),
            open_world: hint("openWorldHint"),
        },
        input_schema,
        output_schema: fields.remove("outputSchema").filter(Value::is_object),
        more: fields,
        ..ToolDefinition::default()
    };
    (!name.is_empty()).then_some((name, definition))
}

/// A resource of the mount with this public name, `N` of `mount://N/<uri>`.
pub(super) fn resource(entry: &Value, service: &Arc<str>, version: u64) -> Option<MeshResource> {
    let mut fields = entry.as_object()?.clone();
    if entry.to_string().len() > MAX_DEFINITION {
        return None;
    }
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (uri, title) = (uri(service, text("uri")), clean(text("title"), MAX_TITLE));
    let name = clean(text("name"), MAX_TITLE);
    let description = clean(text("description"), MAX_DESCRIPTION);
    if text("uri").is_empty() {
        return None;
    }
    put_texts(
        &mut fields,
        [
            ("uri", &uri),
            ("title", &title),
            ("description", &description),
        ],
    );
    Some(MeshResource {
        uri,
        name,
        title,
        description,
        mime_type: "",
        text: None,
        json: Value::Object(fields).to_string().into(),
        service: Arc::clone(service),
        version,
    })
}

/// The answer of a mount to `resources/read`, under the names of the mesh; `None` where it is something
/// else, since a server may answer anything.
pub(super) fn contents(mut fields: Map<String, Value>, service: &str) -> Option<Value> {
    for content in fields.get_mut("contents")?.as_array_mut()? {
        let content = content.as_object_mut()?;
        let own = content.get("uri").and_then(Value::as_str);
        let named = uri(service, own.unwrap_or_default());
        content.insert("uri".to_owned(), json!(named));
    }
    // What it is called here is for the gateway to say.
    fields.remove("resultType");
    Some(Value::Object(fields))
}

/// The server's name for a prompt, as an entry of its list has it.
pub(super) fn prompt_name(entry: &Value) -> Option<&str> {
    entry["name"].as_str().filter(|name| !name.is_empty())
}

/// A prompt under the name that it has among all.
pub(super) fn prompt(entry: &Value, service: &Arc<str>, name: &str) -> Option<MeshPrompt> {
    let (of_server, mut fields) = (prompt_name(entry)?, entry.as_object()?.clone());
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (title, description) = (
        clean(text("title"), MAX_TITLE),
        clean(text("description"), MAX_DESCRIPTION),
    );
    put_texts(
        &mut fields,
        [
            ("name", name),
            ("title", &title),
            ("description", &description),
        ],
    );
    Some(MeshPrompt {
        name: name.to_owned(),
        of_server: Some(of_server.into()),
        title,
        description,
        use_cases: Vec::new(),
        json: Value::Object(fields).to_string().into(),
        service: Arc::clone(service),
    })
}

/// Replaces texts of an entry. An empty one is left out.
fn put_texts(fields: &mut Map<String, Value>, texts: [(&str, &str); 3]) {
    for (key, value) in texts {
        match value.is_empty() {
            true => fields.remove(key),
            false => fields.insert(key.to_owned(), json!(value)),
        };
    }
}

/// `N`, for the mount `tool-N`.
#[must_use]
pub fn mount_name(service: &str) -> &str {
    service.strip_prefix("tool-").unwrap_or(service)
}

/// `mount://N/<uri>`, for a resource of the mount `tool-N`.
pub(super) fn uri(service: &str, uri: &str) -> String {
    format!("{SCHEME}{}/{uri}", mount_name(service))
}

/// `<uri>` of `mount://N/<uri>`; `None` where it is of another mount than `tool-N`.
pub(super) fn inner_uri<'a>(service: &str, uri: &'a str) -> Option<&'a str> {
    uri.strip_prefix(&self::uri(service, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_keeps_what_its_server_says() {
        let entry = json!({"name": "sum", "description": "Ad\u{200b}ds", "icons": [{"src": "x"}],
            "annotations": {"readOnlyHint": true, "title": "Sum"}, "_meta": {"a": 1},
            "inputSchema": {"type": "object", "oneOf": []}});
        let (name, definition) = definition(entry).unwrap();
        assert_eq!((name.as_str(), definition.title.as_str()), ("sum", "Sum"));
        assert_eq!(definition.description, "Adds");
        assert_eq!(definition.annotations.read_only, Some(true));
        assert_eq!(definition.annotations.destructive, None);
        assert_eq!(
            definition.more.keys().collect::<Vec<_>>(),
            ["_meta", "icons"]
        );
        for entry in [
            json!(7),
            json!({}),
            json!({"name": "a"}),
            json!({"inputSchema": {}}),
        ] {
            assert!(super::definition(entry).is_none());
        }
        let huge = json!({"name": "a", "inputSchema": {"description": "x".repeat(MAX_DEFINITION)}});
        assert!(super::definition(huge).is_none());
    }

    #[test]
    fn what_is_no_answer_to_a_reading_is_refused() {
        let read = |answer: Value| contents(answer.as_object()?.clone(), "tool-files");
        let given =
            json!({"resultType": "complete", "contents": [{"uri": "a:b", "text": "x"}, {}]});
        let expected = json!({"contents": [{"uri": "mount://files/a:b", "text": "x"}, {"uri": "mount://files/"}]});
        assert_eq!(read(given), Some(expected));
        for odd in [
            json!(null),
            json!("contents"),
            json!([]),
            json!({}),
            json!({"contents": "x"}),
            json!({"contents": ["x"]}),
            json!({"contents": [[1]]}),
        ] {
            assert_eq!(read(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn a_prompt_keeps_what_its_server_says_under_a_name_of_ours() {
        let entry = json!({"name": "greet", "description": "Gre\u{200b}ets", "arguments": [{"name": "who"}]});
        let prompt = prompt(&entry, &"tool-small".into(), "small-tool__greet").unwrap();
        assert_eq!(prompt.of_server.as_deref(), Some("greet"));
        let entry: Value = serde_json::from_slice(&prompt.json).unwrap();
        assert_eq!(entry["name"], "small-tool__greet");
        assert_eq!(entry["description"], "Greets");
        assert_eq!(entry["arguments"][0]["name"], "who");
        assert!(super::prompt(&json!({"title": "x"}), &"tool-small".into(), "a").is_none());
    }

    #[test]
    fn a_resource_is_named_after_its_mount() {
        let entry = json!({"uri": "file:///a b", "name": "a", "mimeType": "text/plain"});
        let resource = resource(&entry, &"tool-files".into(), 1).unwrap();
        assert_eq!(resource.uri, "mount://files/file:///a b");
        let entry: Value = serde_json::from_slice(&resource.json).unwrap();
        assert_eq!(
            (&entry["uri"], &entry["mimeType"]),
            (&json!(resource.uri), &json!("text/plain"))
        );
        assert!(super::resource(&json!({"name": "a"}), &"tool-files".into(), 1).is_none());
    }
}
