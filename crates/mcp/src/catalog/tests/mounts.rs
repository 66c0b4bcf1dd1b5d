//! A mounted MCP server in the catalog.

use proto::mesh::v1::{
    McpMessage,
    mcp_service_server::{McpService, McpServiceServer},
};
use serde_json::json;

use super::*;

#[derive(Clone, Debug)]
struct Mount {
    tools: watch::Sender<Vec<&'static str>>,
}

type Messages = std::pin::Pin<
    Box<dyn tokio_stream::Stream<Item = Result<McpMessage, Status>> + Send + 'static>,
>;

#[tonic::async_trait]
impl McpService for Mount {
    type CallStream = Messages;
    type ConnectStream = Messages;

    async fn call(&self, request: Request<McpMessage>) -> Result<Response<Messages>, Status> {
        let asked: Value = serde_json::from_slice(&request.into_inner().message).unwrap();
        let message = |json: Value| {
            Ok(McpMessage {
                message: json.to_string().into(),
                related_request: Vec::new(),
            })
        };
        let answer = |result: Value| {
            let json = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
            Box::pin(tokio_stream::once(message(json)))
        };
        Ok(Response::new(match asked["method"].as_str().unwrap() {
            "tools/list" => {
                let tool = |name: &&str| {
                    json!({"name": name, "title": "Reads", "annotations": {"readOnlyHint": true},
                        "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}})
                };
                let tools: Vec<Value> = self.tools.borrow().iter().map(tool).collect();
                answer(json!({ "tools": tools }))
            }
            "resources/list" => {
                answer(json!({"resources": [{"uri": "file:///a.md", "name": "a.md"}]}))
            }
            "resources/read" => answer(json!({"resultType": "complete", "contents":
                [{"uri": asked["params"]["uri"], "text": "hello"}]})),
            "subscriptions/listen" => {
                let changes =
                    tokio_stream::wrappers::WatchStream::from_changes(self.tools.subscribe());
                let method = "notifications/tools/list_changed";
                Box::pin(tokio_stream::StreamExt::map(changes, move |_| {
                    message(json!({"jsonrpc": "2.0", "method": method}))
                }))
            }
            other => return Err(Status::unimplemented(other.to_owned())),
        }))
    }

    async fn connect(
        &self,
        _: Request<tonic::Streaming<McpMessage>>,
    ) -> Result<Response<Messages>, Status> {
        Err(Status::unimplemented("no"))
    }
}

#[tokio::test]
async fn a_mounted_server_is_listed_as_it_describes_itself_and_heard_when_it_changes() {
    let world = World::new();
    let mount = Mount {
        tools: watch::channel(vec!["read"]).0,
    };
    let mut fixture = Fixture::new();
    let routes = Routes::new(McpServiceServer::new(mount.clone()))
        .add_service(ToolServiceServer::new(Tool::default()));
    let address = fixture.serve(routes).await;
    let it = registration("f1", "tool-files", address);
    let services = "agentplatform.ToolService,mesh.v1.McpService";
    world
        .mesh
        .register(with_meta(it, "grpc_services", services))
        .await;
    let snapshot = world.until_named(&["files-tool__read"]).await;
    let tool = &snapshot.all().tools[0];
    assert!(matches!(&tool.target, ToolTarget::Mounted { tool } if &**tool == "read"));
    let json = entry(tool);
    assert_eq!(
        (&json["title"], &json["annotations"]["readOnlyHint"]),
        (&json!("Reads"), &json!(true))
    );
    let view = snapshot.service("tool-files").unwrap();
    assert!(view.mount && view.tools[0].name == "read");

    mount.tools.send_replace(vec!["read", "write"]);
    let snapshot = world
        .until_named(&["files-tool__read", "files-tool__write"])
        .await;
    let uri = "mount://files/file:///a.md";
    assert_eq!(snapshot.all().resource(uri).unwrap().name, "a.md");
    let transport = dynamic::Transport::Mesh(world.mesh.directory.mesh().clone());
    let client = dynamic::DynamicClient::new(transport, dynamic::DynamicOptions::default());
    let head = dynamic::CallHead::default;
    let read = resources::read(snapshot.all(), &client, uri, head())
        .await
        .unwrap();
    assert_eq!(read, json!({"contents": [{"uri": uri, "text": "hello"}]}));
    // What a template of its server describes is in no list, so the server is asked.
    let other = resources::read(snapshot.all(), &client, "mount://files/x", head()).await;
    assert_eq!(other.unwrap()["contents"][0]["uri"], "mount://files/x");
    for uri in ["mount://nobody/x", "mount://files/", "mount://file/s/x"] {
        let unknown = resources::read(snapshot.all(), &client, uri, head()).await;
        assert_eq!(unknown.unwrap_err().code, crate::rpc::code::INVALID_PARAMS);
    }
}
