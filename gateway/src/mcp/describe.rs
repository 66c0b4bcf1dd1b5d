//! The endpoint of MCP in the description of the API. Its messages are JSON-RPC, which the protocol
//! describes by itself.

#![expect(
    dead_code,
    reason = "the functions carry descriptions: requests go straight to the endpoint"
)]

use serde_json::{Value, json};
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, ObjectBuilder, OpenApi as Document, ResponseBuilder, path::Operation,
    },
};

/// How requests fail, whatever they are for: each answer is an error of JSON-RPC.
const FAILURES: [(&str, &str); 12] = [
    ("400", "No message, or its headers say otherwise"),
    ("401", "No valid token"),
    (
        "403",
        "The token may not, or a web page of another origin sent it",
    ),
    ("404", "No such session, service or method"),
    ("406", "The client does not take the form of the answer"),
    ("408", "The body did not come in time"),
    ("413", "The body is larger than mcp_max_body"),
    ("415", "The body is not JSON"),
    ("421", "The host name is not in mcp_allowed_hosts"),
    ("429", "More calls than the token allows"),
    ("502", "The gateway that has the session does not answer"),
    (
        "503",
        "The registry or the store is unavailable, or a limit is reached",
    ),
];

/// The part of the API's description that is about MCP.
pub(crate) fn document() -> Document {
    let mut document = Paths::openapi();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        operations.into_iter().flatten().for_each(add_failures);
    }
    document
}

fn add_failures(operation: &mut Operation) {
    for (status, about) in FAILURES {
        let error =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": about}});
        let content = ContentBuilder::new()
            .schema(Some(ObjectBuilder::new().build()))
            .example(Some(error))
            .build();
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", content)
            .build();
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| response.into());
    }
}

/// What the parameter `service` is.
const SERVICE: &str = "A public id, or a Consul name";
const RESULT_EVENT: &str = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
const CHANGE_EVENT: &str = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";

fn list_tools() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
}

fn no_tools() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}})
}

fn no_session() -> Value {
    let message = "no such session: send initialize to begin a new one";
    json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": message}})
}

#[derive(OpenApi)]
#[openapi(paths(post, post_to_service, stream, stream_of_service, end, end_of_service))]
struct Paths;

/// Send a message of MCP.
///
/// One message of JSON-RPC 2.0, of any revision from 2024-11-05 to 2026-07-28. Since 2026-07-28 each
/// request stands for itself, and the headers repeat what it is. Before it `initialize` opens a session,
/// whose id comes as `Mcp-Session-Id`. The answer is JSON, or a stream of events where messages come
/// before it.
#[utoipa::path(post, path = "/mcp", tag = "mcp", operation_id = "mcpMessage",
    params(
        ("MCP-Protocol-Version" = Option<String>, Header, description = "The revision, as in `_meta`"),
        ("Mcp-Method" = Option<String>, Header, description = "Since 2026-07-28 the method"),
        ("Mcp-Name" = Option<String>, Header, description = "Since 2026-07-28 the name, URI or task"),
        ("Mcp-Session-Id" = Option<String>, Header, description = "Before 2026-07-28 the session"),
        ("listing" = Option<String>, Query, description = "`search` lists what searches tools, `all` every tool")),
    request_body(content = Object, description = "A message", example = json!(list_tools())),
    responses(
        (status = 200, description = "The answer", content(
            (Value = "application/json", example = json!(no_tools())),
            (String = "text/event-stream", example = json!(RESULT_EVENT)))),
        (status = 202, description = "A notification, or an answer of the client", body = String, example = ""),
        (status = 400, description = "No message, or its headers say otherwise", body = Object,
            example = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "the body is no JSON"}})),
        (status = 401, description = "No valid token", body = Object,
            example = json!({"error": "invalid_token", "error_description": "the token is not known"})),
        (status = 404, description = "No such session or method", body = Object,
            example = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}))))]
fn post() {}

/// Send a message to one service.
///
/// The same for one service, by its id or its Consul name: its tools without prefixes. That of a mounted
/// MCP server takes the server's own messages.
#[utoipa::path(post, path = "/mcp/{service}", tag = "mcp", operation_id = "mcpServiceMessage",
    params(("service" = String, Path, description = SERVICE)),
    request_body(content = Object, description = "A message", example = json!(list_tools())),
    responses((status = 200, description = "The answer", content(
        (Value = "application/json", example = json!(no_tools())),
        (String = "text/event-stream", example = json!(RESULT_EVENT))))))]
fn post_to_service() {}

/// Open a session's stream.
///
/// Before 2026-07-28: messages of the server that belong to no request, such as changed lists.
#[utoipa::path(get, path = "/mcp", tag = "mcp", operation_id = "mcpStream",
    params(("Mcp-Session-Id" = String, Header, description = "The session")),
    responses((status = 200, description = "Messages as events", content_type = "text/event-stream", body = String,
        example = json!(CHANGE_EVENT)),
        (status = 404, description = "No such session", body = Object, example = json!(no_session()))))]
fn stream() {}

/// Open a session's stream of one service.
///
/// Before 2026-07-28, for a session with one service.
#[utoipa::path(get, path = "/mcp/{service}", tag = "mcp", operation_id = "mcpServiceStream",
    params(("service" = String, Path, description = SERVICE),
        ("Mcp-Session-Id" = String, Header, description = "The session")),
    responses((status = 200, description = "Messages as events", content_type = "text/event-stream", body = String,
        example = json!(CHANGE_EVENT))))]
fn stream_of_service() {}

/// End a session.
///
/// Before 2026-07-28. Its streams end with it.
#[utoipa::path(delete, path = "/mcp", tag = "mcp", operation_id = "mcpEnd",
    params(("Mcp-Session-Id" = String, Header, description = "The session")),
    responses((status = 204, description = "It has ended"),
        (status = 404, description = "No such session", body = Object, example = json!(no_session()))))]
fn end() {}

/// End a session with one service.
///
/// Before 2026-07-28. Its streams end with it.
#[utoipa::path(delete, path = "/mcp/{service}", tag = "mcp", operation_id = "mcpServiceEnd",
    params(("service" = String, Path, description = SERVICE),
        ("Mcp-Session-Id" = String, Header, description = "The session")),
    responses((status = 204, description = "It has ended")))]
fn end_of_service() {}
