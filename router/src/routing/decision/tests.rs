use directory::Service;
use discovery::Snapshot;
use mesh_relay::hpack::Block;
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use tonic::Code;

use super::*;

const EXECUTE: &str = "/agentplatform.AgentService/ExecuteTask";

type Metadata<'a> = &'a [(&'a str, &'a str)];

/// A directory of `agent-echo`, `tool-weather` and two services that announce `shop.Orders`.
fn directory(ready: bool) -> DirectorySnapshot {
    let service = |name: &str, tag: &str, grpc_services: &[String]| {
        let snapshot = Arc::new(Snapshot::empty(name));
        let tags = [tag.to_owned()];
        Arc::new(Service::new(
            &name.into(),
            &tags,
            Some(snapshot),
            grpc_services,
            None,
        ))
    };
    let orders = ["shop.Orders".to_owned()];
    DirectorySnapshot::new(
        [
            service("agent-echo", "agent", &["echo.Echo".to_owned()]),
            service("tool-weather", "tool", &[]),
            service("orders", "grpc", &orders),
            service("old-orders", "grpc", &orders),
        ],
        ready,
    )
}

fn head(path: &str, authority: &str, metadata: Metadata<'_>) -> Block {
    let mut block = Block::new();
    block.push(b":method", b"POST");
    block.push(b":path", path.as_bytes());
    block.push(b":authority", authority.as_bytes());
    block.push(b"content-type", b"application/grpc");
    for (name, value) in metadata {
        block.push(name.as_bytes(), value.as_bytes());
    }
    block
}

/// A gRPC message of this agent and session.
fn message(agent_id: &str, session_id: &str) -> Vec<u8> {
    let task = TaskRequest {
        task_id: "t1".to_owned(),
        agent_id: agent_id.to_owned(),
        session_id: session_id.to_owned(),
        ..TaskRequest::default()
    };
    let body = task.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &body].concat()
}

/// What a decision says, in a word.
fn say(decision: &Result<Decision, Status>) -> String {
    match decision {
        Ok(Decision::Local) => "local".to_owned(),
        Ok(Decision::ReadMessage(_)) => "read".to_owned(),
        Ok(Decision::AwaitDirectory) => "await".to_owned(),
        Ok(Decision::Forward(target)) => target.service.to_string(),
        Err(status) => format!("{:?}", status.code()),
    }
}

#[test]
fn a_head_decides_by_service_then_authority_then_grpc_service() {
    let table: &[(&str, &str, Metadata<'_>, &str)] = &[
        ("/grpc.health.v1.Health/Check", "", &[], "local"),
        (EXECUTE, "", &[], "read"),
        (
            EXECUTE,
            "",
            &[("x-mesh-service", "agent-echo")],
            "agent-echo",
        ),
        (
            "/a.B/C",
            "",
            &[("x-mesh-service", "echo-agent")],
            "agent-echo",
        ),
        (
            "/a.B/C",
            "agent-echo",
            &[("x-mesh-service", "weather-tool")],
            "tool-weather",
        ),
        ("/a.B/C", "", &[("x-mesh-service", "nobody")], "NotFound"),
        (
            "/a.B/C",
            "agent-echo",
            &[("x-mesh-service", "")],
            "agent-echo",
        ),
        (
            "/a.B/C",
            "",
            &[("x-mesh-service", "b\u{fc}cher")],
            "InvalidArgument",
        ),
        (
            "/a.B/C",
            "",
            &[("x-mesh-session", "\u{fc}")],
            "InvalidArgument",
        ),
        ("/a.B/C", "tool-weather:50051", &[], "tool-weather"),
        ("/echo.Echo/Say", "localhost:50051", &[], "agent-echo"),
        ("/shop.Orders/List", "localhost", &[], "FailedPrecondition"),
        ("/shop.Orders/List", "orders", &[], "orders"),
        ("/a.B/C", "localhost", &[], "Unimplemented"),
    ];
    let directory = directory(true);
    for (path, authority, metadata, expected) in table {
        let block = head(path, authority, metadata);
        let decision = by_head(RequestHead::new(&block), None, &directory);
        assert_eq!(say(&decision), *expected, "{path} {authority} {metadata:?}");
    }
}

#[test]
fn a_message_decides_by_its_id_then_by_the_authority() {
    // The message's agent and session, the authority, whether the policy wants the session.
    for (agent, session, authority, wants_session, expected) in [
        ("echo-agent", "", "localhost", false, "agent-echo"),
        ("echo-agent", "s1", "tool-weather", true, "agent-echo"),
        ("nobody", "", "agent-echo", false, "NotFound"),
        ("", "", "agent-echo:50051", false, "agent-echo"),
        ("", "", "localhost", false, "InvalidArgument"),
    ] {
        let block = head(EXECUTE, authority, &[]);
        let what = format!("{agent} {session} {authority}");
        let fields = &Fields::TASK_REQUEST;
        let wants = |_: &str| wants_session;
        // A head that is read before the directory is ready decides all the same.
        for ready in [false, true] {
            let head = RequestHead::new(&block);
            let mut route = MessageRoute::new(head, fields, &directory(ready), 1 << 20).unwrap();
            let decide = |route: &MessageRoute, ready| route.decide(None, &directory(ready), wants);
            assert_eq!(say(&decide(&route, true)), "read", "{what}");
            assert!(
                route.read(&message(agent, session), true).unwrap(),
                "{what}"
            );
            assert_eq!(say(&decide(&route, false)), "await", "{what}");
            let decision = decide(&route, true);
            assert_eq!(say(&decision), expected, "{what}");
            if let Ok(Decision::Forward(target)) = decision {
                assert_eq!(target, Target::service(expected).session(session), "{what}");
            }
        }
    }
}

#[test]
fn a_session_is_waited_for_where_the_policy_wants_it() {
    let bytes = message("echo-agent", "s1");
    let (most, last) = bytes.split_at(bytes.len() - 1);
    let directory = directory(true);
    // The metadata, and what the decision is before the message is complete.
    for (metadata, wants_session, expected) in [
        (&[][..], true, "read"),
        (&[], false, "agent-echo"),
        (&[("x-mesh-session", "s2")], true, "agent-echo"),
    ] {
        let block = head(EXECUTE, "", metadata);
        let fields = &Fields::TASK_REQUEST;
        let mut route =
            MessageRoute::new(RequestHead::new(&block), fields, &directory, 1 << 20).unwrap();
        assert!(route.read(most, false).unwrap());
        let decision = route.decide(None, &directory, |_| wants_session);
        assert_eq!(say(&decision), expected, "{metadata:?} {wants_session}");
        route.read(last, true).unwrap();
        let Ok(Decision::Forward(target)) = route.decide(None, &directory, |_| wants_session)
        else {
            panic!("{metadata:?}: not decided");
        };
        let session = metadata.first().map_or("s1", |(_, session)| session);
        assert_eq!(target, Target::service("agent-echo").session(session));
    }
}

#[test]
fn the_same_facts_decide_once_the_directory_is_ready() {
    let block = head("/a.B/C", "tool-weather", &[("x-mesh-session", "s1")]);
    let head = RequestHead::new(&block);
    let pinned = Some(Arc::from("weather-1"));
    let early = by_head(head, pinned.as_ref(), &directory(false));
    assert_eq!(say(&early), "await");
    let Ok(Decision::Forward(target)) = by_head(head, pinned.as_ref(), &directory(true)) else {
        panic!("not decided");
    };
    let expected = Target::service("tool-weather")
        .session("s1")
        .instance("weather-1");
    assert_eq!(target, expected);
}

#[test]
fn a_message_with_two_ids_is_rejected_where_it_is_read() {
    let block = head(EXECUTE, "", &[]);
    let mut route = MessageRoute::new(
        RequestHead::new(&block),
        &Fields::TASK_REQUEST,
        &directory(true),
        1 << 20,
    )
    .unwrap();
    let mut body = TaskRequest {
        agent_id: "a".into(),
        ..TaskRequest::default()
    }
    .encode_to_vec();
    body.extend(
        TaskRequest {
            agent_id: "b".into(),
            ..TaskRequest::default()
        }
        .encode_to_vec(),
    );
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let error = route
        .read(&[&[0], &length[..], &body].concat(), true)
        .unwrap_err();
    assert_eq!(error.status().code(), Code::InvalidArgument);
}
