//! The catalog over services that are really served.

mod descriptor_files;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use discovery::{
    Discovery as _, Health,
    backends::{Consul, ConsulOptions},
};
use proto::{
    agentplatform::{
        ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolOperation,
        ToolParameter, ToolRequest, ToolResponse,
        tool_service_server::{ToolService, ToolServiceServer},
    },
    mesh::v1::{
        McpMessage,
        mcp_service_server::{McpService, McpServiceServer},
    },
};
use serde_json::{Value, json};
use service::MethodList;
use testkit::{
    fixture::{Fixture, foreign, registration, with_meta},
    local,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, service::Routes};

use super::*;
use crate::{MeshTool, ToolTarget};

/// Settings as instances announce them in Meta.
#[derive(Debug)]
struct Announced(watch::Sender<u64>);

impl ToolSettingsSource for Announced {
    fn of(&self, service: &Service) -> ToolSettings {
        let meta = service.meta();
        let list = |key: &str| MethodList::parse(meta.get(key)?);
        ToolSettings {
            mcp: list("mcp"),
            mcp_read_only: list("mcp_read_only").unwrap_or_default(),
            mcp_destructive: list("mcp_destructive").unwrap_or_default(),
            mcp_tasks: list("mcp_tasks"),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

struct World {
    mesh: Fixture,
    catalog: Arc<Catalog>,
}

impl World {
    fn new() -> Self {
        Self::with(&CatalogKeys::default())
    }

    fn with(keys: &CatalogKeys) -> Self {
        let mesh = Fixture::new();
        let settings = Arc::new(Announced(watch::channel(0).0));
        let schema = SchemaOptions::default();
        let catalog = Catalog::with_settings(&mesh.directory, settings, keys, schema);
        Self {
            catalog: catalog.unwrap(),
            mesh,
        }
    }

    async fn until(&self, what: impl Fn(&CatalogSnapshot) -> bool) -> Arc<CatalogSnapshot> {
        let mut changes = self.catalog.changes();
        let seen = changes.wait_for(|snapshot| what(snapshot));
        let seen = timeout(Duration::from_secs(8), seen).await;
        Arc::clone(&*seen.expect("the catalog shows it in time").unwrap())
    }

    async fn until_named(&self, names: &[&str]) -> Arc<CatalogSnapshot> {
        self.until(|snapshot| snapshot.ready && listed(snapshot) == names)
            .await
    }

    /// Registers a server of these routes whose Meta has `mcp = "*"`.
    async fn serve(&mut self, id: &str, service: &str, routes: Routes) {
        let address = self.mesh.serve(routes).await;
        self.register(id, service, address).await;
    }

    async fn register(&self, id: &str, service: &str, address: SocketAddr) {
        let it = with_meta(registration(id, service, address), "mcp", "*");
        self.mesh.register(it).await;
    }
}

fn listed(snapshot: &CatalogSnapshot) -> Vec<&str> {
    snapshot
        .all()
        .tools
        .iter()
        .map(|tool| &*tool.name)
        .collect()
}

fn entry(tool: &MeshTool) -> Value {
    serde_json::from_slice(&tool.json).unwrap()
}

fn service<'a>(snapshot: &'a CatalogSnapshot, name: &str) -> &'a CatalogService {
    snapshot.services().find(|it| &*it.name == name).unwrap()
}

/// A tool that counts how often it is asked what it does.
#[derive(Clone, Debug, Default)]
struct Tool {
    asked: Arc<AtomicUsize>,
    operations: Vec<&'static str>,
}

impl Tool {
    fn routes(&self) -> Routes {
        Routes::new(ToolServiceServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl ToolService for Tool {
    async fn execute_tool(
        &self,
        _: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        Ok(Response::new(ToolResponse::default()))
    }

    async fn list_tools(
        &self,
        _: Request<ListToolsRequest>,
    ) -> Result<Response<ListToolsResponse>, Status> {
        self.asked.fetch_add(1, Relaxed);
        let operations = self.operations.iter().map(|name| ToolOperation {
            name: (*name).to_owned(),
            description: "Do\u{200b}es it\u{7}".to_owned(),
            parameters: vec![ToolParameter {
                name: "city".to_owned(),
                r#type: "string".to_owned(),
                required: true,
                description: "where".to_owned(),
            }],
            read_only: Some(true),
            ..ToolOperation::default()
        });
        let info = ToolInfo {
            name: "Atlas".to_owned(),
            operations: operations.collect(),
            ..ToolInfo::default()
        };
        Ok(Response::new(ListToolsResponse { tools: vec![info] }))
    }

    async fn register_tool(
        &self,
        _: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(Status::unimplemented("no"))
    }
}

#[tokio::test]
async fn agents_tools_and_workers_are_listed_with_what_they_say() {
    let world = World::new();
    let memory = &world.mesh.memory;
    let running = [
        local::start(&echo_agent::SPEC, echo_agent::build, memory, &[]).await,
        local::start(&weather_tool::SPEC, weather_tool::build, memory, &[]).await,
        local::start(
            &itinerary_worker::SPEC,
            itinerary_worker::build,
            memory,
            &[],
        )
        .await,
    ];
    let names = [
        "echo-agent",
        "itinerary-worker",
        "weather-tool__get_forecast",
        "weather-tool__get_weather",
    ];
    let snapshot = world.until_named(&names).await;
    let all = snapshot.all();
    let weather = all.tool("weather-tool__get_weather").unwrap();
    let json = entry(weather);
    assert_eq!(json["annotations"]["readOnlyHint"], true, "{json}");
    assert_eq!(json["inputSchema"]["required"][0], "location");
    assert_eq!(json["outputSchema"]["type"], "object");
    assert!(!weather.is_task);
    let echo = all.tool("echo-agent").unwrap();
    assert!(echo.is_task && matches!(echo.target, ToolTarget::Agent));
    assert!(all.tool("itinerary-worker").unwrap().is_task);
    assert!(all.tool("nobody").is_none());

    // The service alone: its names have no prefix, and count as what they are among all.
    for id in ["tool-weather", "weather-tool"] {
        let view = snapshot.service(id).unwrap();
        let names: Vec<_> = view.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["get_forecast", "get_weather"]);
        assert_eq!(entry(&view.tools[1])["name"], "get_weather");
        assert_eq!(&*view.tools[1].global_name, "weather-tool__get_weather");
        assert_eq!(view.resources[0].uri, "tool://weather-tool");
        assert!(view.prompts.is_empty());
    }
    assert!(snapshot.service("tool-nobody").is_none());

    let uris: Vec<_> = all.resources.iter().map(|it| &*it.uri).collect();
    let expected = [
        "agent://echo-agent",
        "tool://weather-tool",
        "worker://itinerary-worker",
    ];
    assert_eq!(uris, expected);
    let text_of = |snapshot: &CatalogSnapshot| {
        let resource = snapshot.all().resource("tool://weather-tool");
        resource.unwrap().text.clone().unwrap()
    };
    let text = text_of(&snapshot);
    assert!(
        text.contains("`get_forecast`") && text.contains(": passing"),
        "{text}"
    );
    assert_eq!(all.prompts.len(), 1);
    assert_eq!(all.prompts[0].name, "echo-agent");

    // What an instance's health is changes its text, and no list.
    let id = running[1].instance_id.clone();
    memory.set_health(&id, Health::Warning);
    let later = world.until(|it| text_of(it).contains(": warning")).await;
    assert_eq!(later.all().resources_version, all.resources_version);
    assert_eq!(later.all().tools_version, all.tools_version);
    assert_ne!(
        later.all().resource("tool://weather-tool").unwrap().version,
        all.resource("tool://weather-tool").unwrap().version
    );
    for running in running {
        running.drain().await;
    }
    let gone = world.until_named(&[]).await;
    assert!(gone.all().tools_version > all.tools_version);
}

#[tokio::test]
async fn a_foreign_service_is_shown_where_its_setting_says_so() {
    let mut world = World::new();
    let address = world.mesh.serve(foreign("shop.Orders")).await;
    let plain = registration("o1", "orders", address);
    world.mesh.register(plain.clone()).await;
    let snapshot = world
        .until(|it| it.ready && it.services().count() == 1)
        .await;
    let orders = service(&snapshot, "orders");
    assert_eq!(
        (orders.mode.as_str(), orders.problem.as_deref()),
        ("off", None)
    );
    assert!(snapshot.service("orders").is_none());

    world
        .mesh
        .register(with_meta(plain.clone(), "mcp", "*"))
        .await;
    let snapshot = world.until_named(&["orders__Orders_Place"]).await;
    let tool = &snapshot.all().tools[0];
    let ToolTarget::Method(call) = &tool.target else {
        panic!("{tool:?}")
    };
    assert_eq!(call.route().method(), "shop.Orders/Place");
    assert_eq!(tool.annotations.read_only, None, "nothing is guessed");
    let view = snapshot.service("orders").unwrap();
    assert_eq!(view.tools[0].name, "Orders_Place");

    let read_only = with_meta(plain.clone(), "mcp", "shop.Orders/Place, shop.Orders/Gone");
    let read_only = with_meta(read_only, "mcp_read_only", "shop.Orders/*");
    let read_only = with_meta(read_only, "mcp_destructive", "*");
    world
        .mesh
        .register(with_meta(read_only, "mcp_tasks", "*"))
        .await;
    let declared = |it: &CatalogSnapshot| {
        it.all()
            .tools
            .first()
            .is_some_and(|it| it.is_task && it.annotations.read_only == Some(true))
    };
    let snapshot = world.until(declared).await;
    let problem = service(&snapshot, "orders").problem.clone().unwrap();
    assert_eq!(problem, "shop.Orders has no method Gone");
    assert!(!snapshot.all().tools[0].has_output_schema);
    assert_eq!(snapshot.all().tools[0].annotations.destructive, Some(true));

    world.mesh.register(with_meta(plain, "mcp", "off")).await;
    world.until_named(&[]).await;
}

/// It hangs in reflection, it answers nonsense, it is gone: each loses its own tools and says why.
#[tokio::test]
async fn a_service_that_fails_loses_its_own_tools_only_and_says_why() {
    let mut world = World::new();
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world
        .register("h1", "hangs", hangs.local_addr().unwrap())
        .await;
    world
        .register("d1", "dead", ([127, 0, 0, 1], 9).into())
        .await;
    world
        .register("t1", "tool-dead", ([127, 0, 0, 1], 9).into())
        .await;
    world.serve("p1", "plain", Routes::default()).await;
    let well = Tool {
        operations: vec!["find"],
        ..Tool::default()
    };
    world.serve("w1", "tool-atlas", well.routes()).await;
    let begun = std::time::Instant::now();
    let snapshot = world.catalog.ready_snapshot(Duration::from_secs(10)).await;
    let snapshot = snapshot.unwrap();
    assert_eq!(listed(&snapshot), ["atlas-tool__find"]);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    let told = |it: &CatalogSnapshot| {
        ["hangs", "dead", "tool-dead", "plain"]
            .iter()
            .all(|it_| service(it, it_).problem.is_some())
    };
    let snapshot = world.until(told).await;
    for (name, expected) in [
        ("hangs", "its reflection does not answer"),
        ("dead", "its reflection does not answer"),
        ("tool-dead", "it does not say what it does"),
        ("plain", "it has no reflection"),
    ] {
        let problem = service(&snapshot, name).problem.clone().unwrap();
        assert!(problem.contains(expected), "{name}: {problem}");
    }
    // Nobody else was asked again meanwhile.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(well.asked.load(Relaxed), 1);
}

#[tokio::test]
async fn a_change_of_one_service_asks_that_service_alone() {
    let mut world = World::new();
    let tools: Vec<_> = (0..3)
        .map(|_| Tool {
            operations: vec!["find"],
            ..Tool::default()
        })
        .collect();
    for (at, tool) in tools.iter().enumerate() {
        world
            .serve(&format!("t{at}"), &format!("tool-t{at}"), tool.routes())
            .await;
    }
    let names = ["t0-tool__find", "t1-tool__find", "t2-tool__find"];
    let before = world.until_named(&names).await;
    let asked = || {
        tools
            .iter()
            .map(|it| it.asked.load(Relaxed))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(), [1, 1, 1]);
    let more = Tool {
        operations: vec!["find", "put"],
        ..Tool::default()
    };
    world.serve("t1-new", "tool-t1", more.routes()).await;
    world.mesh.memory.remove("t1");
    let names = [
        "t0-tool__find",
        "t1-tool__find",
        "t1-tool__put",
        "t2-tool__find",
    ];
    let after = world.until_named(&names).await;
    assert_eq!((asked()[0], asked()[2]), (1, 1));
    let same = |name: &str| {
        Arc::ptr_eq(
            before.all().tool(name).unwrap(),
            after.all().tool(name).unwrap(),
        )
    };
    assert!(same("t0-tool__find") && same("t2-tool__find"));

    // A check that fails takes its tools away, and gives them back.
    world.mesh.memory.set_health("t0", Health::Critical);
    let snapshot = world.until_named(&names[1..]).await;
    let problem = service(&snapshot, "tool-t0").problem.clone();
    assert_eq!(problem.as_deref(), Some("no instance is healthy"));
    world.mesh.memory.set_health("t0", Health::Passing);
    world.until_named(&names).await;
    assert_eq!(asked()[2], 1);
}

#[tokio::test]
async fn a_registry_that_is_away_takes_no_tool_away() {
    let mut world = World::new();
    world
        .serve("t1", "tool-atlas", Tool::default().routes())
        .await;
    let before = world.until_named(&["atlas-tool"]).await;
    // It lists no operation, so the caller names it.
    let tool = &before.all().tools[0];
    assert!(matches!(
        tool.target,
        ToolTarget::ToolOperation {
            operation: None,
            ..
        }
    ));
    assert_eq!(entry(tool)["inputSchema"]["required"][0], "operation");
    world.mesh.memory.set_reachable(false);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(listed(&world.catalog.snapshot()), ["atlas-tool"]);
    assert!(world.mesh.memory.is_registered("t1").await.is_err());
}

#[tokio::test]
async fn long_and_equal_names_are_told_apart_and_stay() {
    let mut world = World::new();
    let long = "x".repeat(80);
    let operations = vec!["find", "find me", Box::leak(long.into_boxed_str())];
    let tool = Tool {
        operations,
        ..Tool::default()
    };
    world.serve("t1", "tool-atlas", tool.routes()).await;
    let snapshot = world.until(|it| it.all().tools.len() == 3).await;
    let all = snapshot.all();
    for tool in &all.tools {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(
            tool.name.len() <= 50 && tool.name.chars().all(plain),
            "{}",
            tool.name
        );
        assert_eq!(entry(tool)["name"], tool.name);
        assert_eq!(&*tool.global_name, tool.name);
        assert_eq!(entry(tool)["description"], "Does it");
    }
    // The same on every replica.
    let again = World::with(&CatalogKeys {
        mcp_max_name: 30,
        ..CatalogKeys::default()
    });
    let address = world.mesh.serve(tool.routes()).await;
    again.register("other", "tool-atlas", address).await;
    let other = again.until(|it| it.all().tools.len() == 3).await;
    let short = |name: &&str| name.len() <= 30;
    assert!(listed(&other).iter().all(short), "{:?}", listed(&other));
    let of = |snapshot: &CatalogSnapshot| {
        let names = listed(snapshot).into_iter().filter(short);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(&snapshot).len(), 2);
    assert!(of(&snapshot).iter().all(|name| of(&other).contains(name)));
}

#[tokio::test]
async fn no_more_tools_are_listed_than_the_key_says() {
    let keys = CatalogKeys {
        mcp_max_tools: 2,
        ..CatalogKeys::default()
    };
    let mut world = World::with(&keys);
    for name in ["a", "b"] {
        let tool = Tool {
            operations: vec!["one", "two"],
            ..Tool::default()
        };
        world
            .serve(name, &format!("tool-{name}"), tool.routes())
            .await;
    }
    let snapshot = world.until_named(&["a-tool__one", "a-tool__two"]).await;
    let full = |it: &CatalogSnapshot| service(it, "tool-b").problem.is_some();
    let snapshot = if full(&snapshot) {
        snapshot
    } else {
        world.until(full).await
    };
    let problem = service(&snapshot, "tool-b").problem.clone().unwrap();
    assert!(problem.contains("mcp_max_tools = 2"), "{problem}");
}

#[tokio::test]
async fn files_of_the_operator_stand_in_for_reflection_and_add_comments() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, proto::DESCRIPTORS).unwrap();
    let keys = CatalogKeys {
        mcp_descriptor_sets: vec![file.path().display().to_string()],
        ..CatalogKeys::default()
    };
    let mut world = World::with(&keys);
    let address = world.mesh.serve(Routes::default()).await;
    let silent = with_meta(registration("s1", "silent", address), "mcp", "*");
    let service = "agentplatform.TaskWorker";
    world
        .mesh
        .register(with_meta(silent, "grpc_services", service))
        .await;
    let names = [
        "silent__TaskWorker_GetTaskStatus",
        "silent__TaskWorker_ProcessTask",
    ];
    let snapshot = world.until_named(&names).await;
    assert_eq!(
        snapshot.services().next().unwrap().left_out.len(),
        1,
        "ListWorkers"
    );
    let missing = CatalogKeys {
        mcp_descriptor_sets: vec!["/nowhere.binpb".to_owned()],
        ..CatalogKeys::default()
    };
    let settings = Arc::new(Announced(watch::channel(0).0));
    let schema = SchemaOptions::default();
    let error = Catalog::with_settings(&world.mesh.directory, settings, &missing, schema);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("mcp_descriptor_sets: read /nowhere.binpb"),
        "{error}"
    );
}

#[tokio::test]
async fn a_list_is_not_given_before_it_is_true() {
    let nowhere = ConsulOptions::at("127.0.0.1:9");
    let consul = Arc::new(Consul::new(nowhere).unwrap());
    let options = channel::ClusterOptions::default();
    let mesh = channel::Mesh::new(consul, options, &telemetry::MetricsRegistry::new());
    let settings = Arc::new(Announced(watch::channel(0).0));
    let keys = CatalogKeys::default();
    let schema = SchemaOptions::default();
    let catalog = Catalog::with_settings(&Directory::start(mesh), settings, &keys, schema);
    let ready = catalog
        .unwrap()
        .ready_snapshot(Duration::from_millis(300))
        .await;
    assert!(ready.is_none());
    let world = World::new();
    let ready = world.catalog.ready_snapshot(Duration::from_secs(3)).await;
    assert!(
        ready.unwrap().all().tools.is_empty(),
        "an empty mesh has no tools"
    );
}

/// A mounted MCP server of few words: it lists what it has, and tells when that changes.
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

/// A thousand tools of two hundred services: what they take, and that one change asks one service.
#[tokio::test]
async fn a_thousand_tools_take_little_memory_each() {
    let tool = Tool {
        operations: vec!["a", "b", "c", "d", "e"],
        ..Tool::default()
    };
    let mut world = World::new();
    let address = world.mesh.serve(tool.routes()).await;
    for at in 0..200 {
        let name = format!("tool-t{at}");
        world
            .mesh
            .register(registration(&name, &name, address))
            .await;
    }
    let snapshot = world
        .until(|it| it.ready && it.all().tools.len() == 1000)
        .await;
    assert_eq!(tool.asked.load(Relaxed), 200);
    let bytes: usize = snapshot
        .all()
        .tools
        .iter()
        .map(|tool| tool.json.len())
        .sum();
    assert!(bytes / 1000 < 1024, "{} bytes of JSON a tool", bytes / 1000);
    let again = registration("tool-t7", "tool-t7", address);
    world.mesh.register(with_meta(again, "version", "2")).await;
    let version = snapshot.version;
    world.until(|it| it.version > version).await;
    testkit::until("it is asked again", Duration::from_secs(5), async || {
        (tool.asked.load(Relaxed) == 201).then_some(())
    })
    .await;
}
