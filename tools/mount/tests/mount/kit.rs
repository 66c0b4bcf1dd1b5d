//! A mount of the small server, and clients of both eras.

use std::sync::Arc;

use discovery::backends::Memory;
use mcp_mount::{SPEC, build};
use proto::{
    agentplatform::{ToolRequest, ToolResponse, tool_service_client::ToolServiceClient},
    mesh::v1::{McpMessage, mcp_service_client::McpServiceClient},
};
use serde_json::{Value, json};
use service::{ServerHandle, Spec};
use testkit::{clients, local, tools};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, transport::Channel};

/// The service that the tests mount.
pub(crate) const SMALL: Spec = Spec {
    service: "tool-small",
    ..SPEC
};

/// A mount, and a connection to it.
pub(crate) struct Small {
    pub(crate) running: ServerHandle,
    channel: Channel,
}

/// The command of the small server.
pub(crate) fn command(era: &str) -> String {
    let script = tools::root().join("tools/mount/tests/mount/server.py");
    format!("{} '{}' {era}", tools::python().display(), script.display())
}

impl Small {
    pub(crate) async fn start(era: &str, set: &[(&str, &str)]) -> Self {
        Self::start_in(&Arc::new(Memory::new()), era, set).await
    }

    pub(crate) async fn start_in(registry: &Arc<Memory>, era: &str, set: &[(&str, &str)]) -> Self {
        let command = command(era);
        let set: Vec<_> = [("mount_command", command.as_str())]
            .into_iter()
            .chain(set.iter().copied())
            .collect();
        Self::configured(registry, &set).await
    }

    /// A mount of a server that runs already.
    pub(crate) async fn at(set: &[(&str, &str)]) -> Self {
        Self::configured(&Arc::new(Memory::new()), set).await
    }

    async fn configured(registry: &Arc<Memory>, set: &[(&str, &str)]) -> Self {
        let running = local::start(&SMALL, build, registry, set).await;
        let channel = local::connect(&running).await;
        Self { running, channel }
    }

    pub(crate) async fn try_call(
        &self,
        operation: &str,
        pairs: &[(&str, &str)],
    ) -> Result<ToolResponse, Status> {
        let request = ToolRequest {
            operation: operation.to_owned(),
            parameters: clients::parameters(pairs),
            ..ToolRequest::default()
        };
        let mut client = ToolServiceClient::new(self.channel.clone());
        client.execute_tool(request).await.map(Response::into_inner)
    }

    pub(crate) async fn call(&self, operation: &str, pairs: &[(&str, &str)]) -> ToolResponse {
        self.try_call(operation, pairs).await.unwrap()
    }

    /// The text of a tool's answer.
    pub(crate) async fn text(&self, operation: &str, pairs: &[(&str, &str)]) -> String {
        let answer = self.call(operation, pairs).await;
        assert!(answer.success, "{answer:?}");
        answer.result
    }

    pub(crate) fn mcp(&self) -> McpServiceClient<Channel> {
        McpServiceClient::new(self.channel.clone())
    }

    /// The messages of the answer to a request of a client of 2026-07-28 with these capabilities.
    pub(crate) async fn stream(
        &self,
        capabilities: Value,
        method: &str,
        mut params: Value,
    ) -> Streaming<McpMessage> {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        let request = json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params});
        let request = message(&request);
        self.mcp().call(request).await.unwrap().into_inner()
    }

    pub(crate) async fn modern(
        &self,
        capabilities: Value,
        method: &str,
        params: Value,
    ) -> Vec<Value> {
        let mut stream = self.stream(capabilities, method, params).await;
        let mut all = Vec::new();
        while let Some(it) = stream.message().await.unwrap() {
            all.push(serde_json::from_slice(&it.message).unwrap());
        }
        all
    }

    /// The session of a client of an earlier revision with these capabilities.
    pub(crate) async fn session(&self, capabilities: Value) -> Session {
        let (sender, messages) = mpsc::channel(16);
        let mut client = self.mcp();
        let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}}});
        sender.send(message(&begin)).await.unwrap();
        let answers = client.connect(ReceiverStream::new(messages)).await.unwrap();
        let mut session = Session {
            sender,
            answers: answers.into_inner(),
            begun: Value::Null,
        };
        session.begun = session.next().await.1["result"].clone();
        session
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        session
    }
}

/// A client of an earlier revision.
pub(crate) struct Session {
    sender: mpsc::Sender<McpMessage>,
    pub(crate) answers: Streaming<McpMessage>,
    pub(crate) begun: Value,
}

impl Session {
    pub(crate) async fn send(&self, value: &Value) {
        self.sender.send(message(value)).await.unwrap();
    }

    pub(crate) async fn request(&self, id: i64, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
    }

    /// The next message, and the request that it belongs to.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        let it = self.answers.message().await.unwrap().expect("a message");
        let related = String::from_utf8(it.related_request).unwrap();
        (related, serde_json::from_slice(&it.message).unwrap())
    }

    /// The response to one request.
    pub(crate) async fn ask(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.request(id, method, params).await;
        loop {
            let (_, it) = self.next().await;
            if it["id"] == id && it.get("method").is_none() {
                return it;
            }
        }
    }
}

pub(crate) fn message(value: &Value) -> McpMessage {
    McpMessage {
        message: value.to_string().into_bytes(),
        related_request: Vec::new(),
    }
}

/// The text of a result of a tool.
pub(crate) fn text_of(response: &Value) -> &str {
    response["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{response}"))
}
