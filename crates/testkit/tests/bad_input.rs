//! What no decent client sends: it is refused as promised, and harms nobody else.

use std::{path::Path, time::Duration};

use mesh_testkit::{
    Consul, Load, Mesh, Program, RouterMesh, load,
    python::Python,
    raw::{RawConnection, RawResponse, frame, header},
    tools, until, within,
};
use proto::error_info::{self, ErrorInfo};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tonic::Code;

const EXECUTE: &str = "/agentplatform.AgentService/ExecuteTask";
const COUNT: &str = "/warehouse.v1.Inventory/Count";
/// A refusal waits for nothing.
const PROMPT: Duration = Duration::from_secs(5);
/// More than a busy router needs for its connections, and less than one large message.
const GROWTH: u64 = 64 << 20;

#[tokio::test]
async fn bad_messages_get_the_status_that_names_what_is_wrong() {
    let RouterMesh {
        mut router,
        echoes: _echoes,
        consul: _consul,
    } = RouterMesh::start(1, &[], &[]).await;
    let mut raw = RawConnection::connect(router.grpc).await;

    let unknown = raw.call(EXECUTE, &[], &task("nobody-agent")).await;
    let info = refused(&unknown, Code::NotFound, "nobody-agent");
    assert_eq!(info.metadata["id"], "nobody-agent");
    let unknown = raw
        .call(
            EXECUTE,
            &[("x-mesh-service", "nobody")],
            &task("echo-agent"),
        )
        .await;
    refused(&unknown, Code::NotFound, "nobody");

    for message in [task(""), Vec::new(), b"\x0a\x02t1".to_vec()] {
        let empty = raw.call(EXECUTE, &[], &message).await;
        assert_eq!(
            refused(&empty, Code::InvalidArgument, "agent_id").metadata["field"],
            "agent_id"
        );
    }
    let tool = raw
        .call("/agentplatform.ToolService/ExecuteTool", &[], &[])
        .await;
    refused(&tool, Code::InvalidArgument, "tool_id");

    for garbage in [
        b"\xff\xff\xff\xff".as_slice(),
        b"\x12\x7fecho",
        b"not protobuf at all",
    ] {
        let answer = raw.call(EXECUTE, &[], garbage).await;
        refused(&answer, Code::InvalidArgument, "");
    }
    // The frame promises more than comes.
    let cut = raw
        .begin(EXECUTE, &[], frame(&task("echo-agent")).slice(..8), true)
        .await;
    refused(&cut.answer().await, Code::InvalidArgument, "");
    let two = [task("echo-agent"), task("other-agent")].concat();
    refused(
        &raw.call(EXECUTE, &[], &two).await,
        Code::InvalidArgument,
        "agent_id",
    );

    let nobody = raw.call("/no.such.Service/Method", &[], &[]).await;
    refused(&nobody, Code::Unimplemented, "no.such.Service");
    let service = [("x-mesh-service", "agent-echo")];
    let unknown = raw
        .call("/agentplatform.AgentService/Nope", &service, &[])
        .await;
    assert_eq!(unknown.status.code(), Code::Unimplemented);

    load::wait_answered(router.grpc).await;
    router.assert_healthy();
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    let RouterMesh {
        mut router,
        mut echoes,
        consul: _consul,
    } = RouterMesh::start(1, &[], &[]).await;
    let before = router.process.memory();
    let mut raw = RawConnection::connect(router.grpc).await;
    // By its id, and by metadata; none of the message's bytes ever comes.
    for metadata in [[].as_slice(), &[("x-mesh-service", "agent-echo")]] {
        for _ in 0..50 {
            let exchange = raw.begin(EXECUTE, metadata, header(100 << 20), false).await;
            let answer = timeout(PROMPT, exchange.answer())
                .await
                .expect("judged from the header");
            let info = refused(&answer, Code::ResourceExhausted, "max_message_bytes");
            assert_eq!(info.metadata["key"], "max_message_bytes");
        }
    }
    // A message just under it passes.
    let large = [task("echo-agent"), field(3, &vec![b'x'; 4_000_000])].concat();
    let answer = raw.call(EXECUTE, &[], &large).await;
    assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
    assert!(answer.body.len() > 4_000_000);
    let grown = router.process.memory().saturating_sub(before);
    assert!(grown < GROWTH, "the router grew by {grown} bytes");
    router.assert_healthy();
    echoes[0].assert_healthy();
}

#[tokio::test]
async fn a_service_that_two_announce_is_chosen_by_metadata() {
    let consul = Consul::start().await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/inventory.py");
    let server = Python::start(&script, &[]).await;
    for name in ["warehouse-north", "warehouse-south"] {
        register(&consul, name, &["grpc"], server.port).await;
    }
    let mut raw = RawConnection::connect(router.grpc).await;
    // The router learns from reflection what each of them serves.
    let (answer, _) = within(PROMPT, async || {
        let answer = raw.call(COUNT, &[], &[]).await;
        (answer.status.code() == Code::FailedPrecondition).then_some(answer)
    })
    .await
    .expect("both are known");
    let info = refused(&answer, Code::FailedPrecondition, "x-mesh-service");
    for name in ["warehouse-north", "warehouse-south"] {
        assert!(info.metadata["candidates"].contains(name), "{info:?}");
        let answer = raw.call(COUNT, &[("x-mesh-service", name)], &[]).await;
        assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
        assert_eq!(answer.headers["x-mesh-instance"], format!("{name}-1"));
    }
    router.assert_healthy();
}

#[tokio::test]
async fn the_instance_hears_that_a_client_has_vanished() {
    let consul = Consul::start().await;
    let _echo = Program::start("echo-agent", &consul.env()).await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/predecessor.py");
    let proto = tools::root().join("proto/proto");
    let server = Python::start(&script, &[proto.to_str().unwrap()]).await;
    register(&consul, "agent-foo", &["agent", "foo"], server.port).await;
    consul.wait_passing("agent-echo", 1).await;
    load::wait_answered(router.grpc).await;
    let before = router.process.memory();

    // One resets its stream, one drops its connection.
    let mut staying = RawConnection::connect(router.grpc).await;
    let reset = staying
        .begin(EXECUTE, &[], frame(&long_task("reset")), true)
        .await;
    let mut leaving = RawConnection::connect(router.grpc).await;
    let dropped = leaving
        .begin(EXECUTE, &[], frame(&long_task("dropped")), true)
        .await;
    for task in ["reset", "dropped"] {
        log_says(&server, &format!("working on {task}")).await;
    }
    reset.cancel();
    drop((dropped, leaving));
    for task in ["reset", "dropped"] {
        log_says(&server, &format!("cancelled {task}")).await;
    }
    // Many who vanish in the middle of a message, and some who do not even speak HTTP/2.
    for _ in 0..200 {
        let begun = frame(&task("echo-agent")).slice(..10);
        staying.begin(EXECUTE, &[], begun, false).await.cancel();
    }
    for noise in [
        "GET / HTTP/1.1\r\n\r\n",
        "\0\0\0\0\0\0\0\0\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnoise",
    ] {
        let mut stream = TcpStream::connect(router.grpc).await.unwrap();
        stream.write_all(noise.as_bytes()).await.unwrap();
    }
    let answer = staying.call(EXECUTE, &[], &task("echo-agent")).await;
    assert_eq!(
        answer.status.code(),
        Code::Ok,
        "others on the connection are unharmed"
    );
    load::wait_answered(router.grpc).await;
    let grown = router.process.memory().saturating_sub(before);
    assert!(grown < GROWTH, "the router grew by {grown} bytes");
    router.assert_healthy();
}

async fn log_says(server: &Python, line: &str) {
    until(line, PROMPT, async || {
        server.process.log().contains(line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn clients_that_vanish_behind_haproxy_cost_the_others_no_call() {
    // HAProxy sends the calls of all its clients on the same few connections, and so does a router.
    let mut mesh = Mesh::start(1, 1, &[("ECHO_DELAY", "50ms".to_owned())]).await;
    let mut load = Load::start(mesh.address(), 100, 400);
    // A connection that is still being opened ends with the client for whom it is: HAProxy then
    // tells the others, with REFUSED_STREAM, to call again.
    load.wait_ended(50).await;
    for round in 0..15 {
        let mut raw = RawConnection::connect(mesh.address()).await;
        let mut begun = Vec::new();
        for _ in 0..90 {
            begun.push(
                raw.begin(EXECUTE, &[], frame(&task("echo-agent")), true)
                    .await,
            );
        }
        // From at once to when they have reached the instance.
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        drop((begun, raw));
        load.wait_ended(20).await;
    }
    let calls = load.finish().await;
    let failed: Vec<_> = calls
        .iter()
        .filter_map(|call| call.outcome.as_ref().err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} calls failed: {:?}",
        failed.len(),
        failed[0]
    );
    mesh.routers[0].assert_healthy();
    mesh.echoes[0].assert_healthy();
}

/// The `ErrorInfo` of an answer that has to be this refusal and speak of this.
fn refused(answer: &RawResponse, code: Code, about: &str) -> ErrorInfo {
    let status = &answer.status;
    assert_eq!(status.code(), code, "{status:?}");
    assert!(
        status.message().contains(about),
        "{about} is not in {status:?}"
    );
    let info = error_info::read(status).unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, error_info::DOMAIN);
    assert!(!info.reason.is_empty());
    info
}

async fn register(consul: &Consul, name: &str, tags: &[&str], port: u16) {
    let registration = json!({
        "ID": format!("{name}-1"), "Name": name, "Tags": tags,
        "Address": "127.0.0.1", "Port": port,
        "Check": { "TCP": format!("127.0.0.1:{port}"), "Interval": "1s", "Status": "passing" },
    });
    consul.put("agent/service/register", &registration).await;
}

/// The bytes of a `TaskRequest` for an agent.
fn task(agent: &str) -> Vec<u8> {
    field(2, agent.as_bytes())
}

/// One that the predecessor's server works on for a minute.
fn long_task(id: &str) -> Vec<u8> {
    let entry = [field(1, b"seconds"), field(2, b"60")].concat();
    [field(1, id.as_bytes()), task("foo-agent"), field(4, &entry)].concat()
}

/// A length-delimited field of protobuf.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(value);
    bytes
}
