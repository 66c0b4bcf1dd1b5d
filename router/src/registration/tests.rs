use discovery::backends::Memory;
use proto::agentplatform::{AgentInfo, ToolInfo};

use super::*;

fn agent(id: &str, endpoint: &str) -> AgentInfo {
    AgentInfo {
        agent_id: id.into(),
        endpoint: endpoint.into(),
        description: "ü".repeat(400),
        capabilities: vec!["legacy".into()],
        version: "1.2.0".into(),
        ..AgentInfo::default()
    }
}

fn registrar() -> (Arc<Memory>, RegistrationHandler) {
    let memory = Arc::new(Memory::new());
    let registrar = of(memory.clone(), true);
    (memory, registrar)
}

fn of(memory: Arc<Memory>, allowed: bool) -> RegistrationHandler {
    let addresses = AddressPolicy::new("127.0.0.1:50051", Vec::new());
    RegistrationHandler::new(memory, allowed, "mcp-router-here-1", addresses)
}

fn nobody() -> DirectorySnapshot {
    DirectorySnapshot::default()
}

fn instances(memory: &Memory, service: &str) -> Vec<Arc<discovery::Instance>> {
    memory
        .watch(service)
        .borrow()
        .as_ref()
        .unwrap()
        .instances
        .clone()
}

async fn refusal(info: AgentInfo) -> (Code, String) {
    let status = registrar()
        .1
        .register(info.into(), &nobody())
        .await
        .unwrap_err();
    (status.code(), status.message().to_owned())
}

/// How many instances it keeps registered.
async fn kept(registrar: &RegistrationHandler) -> usize {
    let mut kept = registrar.kept.lock().await;
    forget_gone(&mut kept);
    kept.len()
}

#[tokio::test]
async fn registration_is_off_unless_allowed() {
    let registrar = of(Arc::new(Memory::new()), false);
    let status = registrar
        .register(agent("old-agent", "10.0.0.5:50052").into(), &nobody())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        proto::error_info::read(&status).unwrap().metadata["key"],
        "allow_registration"
    );
}

#[tokio::test]
async fn every_form_of_an_id_is_the_same_instance() {
    let (memory, registrar) = registrar();
    for id in ["old-agent", "agent-old", "old", "Old-Agent"] {
        let answer = registrar
            .register(agent(id, "http://10.0.0.5:50052").into(), &nobody())
            .await
            .unwrap();
        assert!(answer.success);
        assert_eq!(answer.service_id, "old-agent-10.0.0.5-50052");
    }
    let instances = instances(&memory, "agent-old");
    let [instance] = instances.as_slice() else {
        panic!("{instances:?}")
    };
    assert_eq!(instance.public_id(), "old-agent");
    assert_eq!(instance.authority(), "10.0.0.5:50052");
    assert_eq!(instance.tags, ["agent", "legacy"]);
    assert_eq!(instance.version(), "1.2.0");
    assert_eq!(instance.meta["registered_by"], "mcp-router-here-1");
    assert_eq!(instance.meta["description"].len(), 512);
    assert_eq!(kept(&registrar).await, 1);
}

#[tokio::test]
async fn tool_is_registered_as_a_tool() {
    let (memory, registrar) = registrar();
    let tool = ToolInfo {
        tool_id: "old-tool".into(),
        endpoint: "[::1]:50053".into(),
        ..ToolInfo::default()
    };
    registrar.register(tool.into(), &nobody()).await.unwrap();
    let instances = instances(&memory, "tool-old");
    assert_eq!(instances[0].kind(), discovery::ServiceKind::Tool);
    assert_eq!(instances[0].authority(), "[::1]:50053");
}

#[tokio::test(start_paused = true)]
async fn registration_that_the_registry_forgets_is_made_again() {
    let (memory, registrar) = registrar();
    registrar
        .register(agent("old", "10.0.0.7:50052").into(), &nobody())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory.clear();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(instances(&memory, "agent-old").len(), 1);
}

#[tokio::test]
async fn new_description_replaces_the_old_one() {
    let (memory, registrar) = registrar();
    registrar
        .register(agent("old", "10.0.0.5:1").into(), &nobody())
        .await
        .unwrap();
    let newer = AgentInfo {
        version: "2.0.0".into(),
        ..agent("old", "10.0.0.5:1")
    };
    registrar.register(newer.into(), &nobody()).await.unwrap();
    registrar
        .register(agent("old", "10.0.0.6:1").into(), &nobody())
        .await
        .unwrap();
    let instances = instances(&memory, "agent-old");
    assert_eq!(instances.len(), 2);
    assert_eq!(instances[0].version(), "2.0.0");
}

#[tokio::test]
async fn service_that_registers_itself_is_not_joined() {
    let (memory, registrar) = registrar();
    let own = Candidate::from(agent("echo", "10.0.0.9:50052"));
    let own = own.registration(&AddressPolicy::default()).await.unwrap();
    memory.register(&own).await.unwrap();
    let status = registrar
        .register(agent("echo", "10.6.6.6:1").into(), &nobody())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn bad_fields_are_named() {
    let good = "10.0.0.5:50052";
    for id in [
        "",
        "-agent",
        "a b",
        "a/b",
        "ä",
        "x-tool",
        "worker-x",
        &"x".repeat(60),
    ] {
        let (code, message) = refusal(agent(id, good)).await;
        assert_eq!(code, Code::InvalidArgument, "{id}");
        assert!(message.contains("agent_id"), "{message}");
    }
    for endpoint in [
        "",
        "host",
        "host:0",
        ":1",
        "host:99999",
        "https://h:1",
        "u@h:1",
        "h:1/x",
    ] {
        let (code, message) = refusal(agent("old", endpoint)).await;
        assert_eq!(code, Code::InvalidArgument, "{endpoint}");
        assert!(message.contains("endpoint"), "{message}");
    }
    for tag in ["router", "tool", "two words", ""] {
        let info = AgentInfo {
            capabilities: vec![tag.into()],
            ..agent("old", good)
        };
        let (code, message) = refusal(info).await;
        assert_eq!(code, Code::InvalidArgument, "{tag}");
        assert!(message.contains("capability"), "{message}");
    }
}

#[tokio::test]
async fn number_of_registrations_is_bounded() {
    let (memory, registrar) = registrar();
    for n in 0..MAX_REGISTRATIONS {
        registrar
            .register(agent(&format!("a{n}"), "10.0.0.5:1").into(), &nobody())
            .await
            .unwrap();
    }
    let status = registrar
        .register(agent("more", "10.0.0.5:1").into(), &nobody())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    registrar
        .register(agent("a1", "10.0.0.5:1").into(), &nobody())
        .await
        .unwrap();
    memory.set_reachable(false);
    let status = registrar
        .register(agent("a1", "10.0.0.6:1").into(), &nobody())
        .await
        .unwrap_err();
    assert!(matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted
    ));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_removes_stays_removed_and_leaves_its_place() {
    let (memory, registrar) = registrar();
    registrar
        .register(agent("old", "10.0.0.5:1").into(), &nobody())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    memory.deregister("old-agent-10.0.0.5-1").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(instances(&memory, "agent-old"), []);
    assert_eq!(kept(&registrar).await, 0);
    // Whoever asks for it again gets it.
    registrar
        .register(agent("old", "10.0.0.5:1").into(), &nobody())
        .await
        .unwrap();
    assert_eq!(instances(&memory, "agent-old").len(), 1);
}

#[tokio::test]
async fn a_name_that_is_anothers_is_refused() {
    let mesh = testkit::fixture::Fixture::new();
    let at = |port: u16| std::net::SocketAddr::from(([10, 0, 0, 9], port));
    let claims = testkit::fixture::with_meta(
        testkit::fixture::registration("bird", "bird", at(1)),
        "public_id",
        "parrot-agent",
    );
    mesh.register(claims).await;
    let snapshot = mesh
        .until(|snapshot| snapshot.by_id("parrot-agent").is_some())
        .await;
    let registrar = of(mesh.memory.clone(), true);
    let refused = async |id: &str, endpoint: &str| {
        let status = registrar
            .register(agent(id, endpoint).into(), &snapshot)
            .await;
        status.expect_err(id).code()
    };
    // By its form it would take what the other claims.
    assert_eq!(refused("parrot", "10.0.0.5:1").await, Code::AlreadyExists);
    // A service without any tag of the mesh is somebody's too.
    let untagged = Registration {
        tags: Vec::new(),
        ..testkit::fixture::registration("db-1", "agent-db", at(2))
    };
    mesh.register(untagged).await;
    assert_eq!(refused("db", "10.0.0.5:1").await, Code::AlreadyExists);
    // An ID of its own under another service.
    let id = testkit::fixture::registration("new-agent-10.0.0.5-1", "other", at(3));
    mesh.register(id).await;
    assert_eq!(refused("new", "10.0.0.5:1").await, Code::AlreadyExists);
    // Another router.
    let router = Registration {
        tags: vec!["router".into()],
        ..testkit::fixture::registration("r2", "mcp-router", at(4))
    };
    mesh.register(router).await;
    assert_eq!(refused("new", "10.0.0.9:4").await, Code::InvalidArgument);
    assert_eq!(kept(&registrar).await, 0);
}
