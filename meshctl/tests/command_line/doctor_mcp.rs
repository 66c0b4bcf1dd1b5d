//! `meshctl doctor` on the endpoint of MCP and on mounted servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::Stdio,
    thread,
};

use serde_json::json;
use tempfile::TempDir;
use testkit::Process;

use crate::{
    doctor::{Patient, nobody, registration},
    mesh::meshctl,
};

/// A program of the mesh beside it, as `meshctl` starts it.
fn beside(patient: &Patient, folder: &TempDir, args: &[&str], set: &[(&str, &str)]) -> Process {
    let mut command = meshctl(args);
    let own = patient.environment.iter();
    let own = own.map(|(name, value)| (*name, value.as_str()));
    command.envs(own.chain(set.iter().copied()));
    command
        .env("ADMIN_ADDRESS", "127.0.0.1")
        .env("SERVICE_HOST", "127.0.0.1")
        .env("METRICS_PORT", "0")
        .env("OUT_DIR", folder.path())
        .env("JOBS_PATH", folder.path().join("jobs"))
        .stdin(Stdio::null());
    Process::start("meshctl", command)
}

/// A server of HTTP that answers everything so.
fn answers(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read(&mut [0; 4096]).is_err() {
                continue;
            }
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
            let answer = format!("{head}connection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[tokio::test]
async fn what_is_wrong_with_the_endpoint_of_mcp_is_named() {
    let patient = Patient::start().await;
    let folder = TempDir::new().unwrap();
    assert_eq!(patient.look().verdict("mcp-auth"), "not used");
    let gateway = ["run", "mesh-gateway", "--port", "0"];

    // Whoever reaches it may call every tool.
    let open = beside(
        &patient,
        &folder,
        &gateway,
        &[("LISTEN_ADDRESS", "0.0.0.0")],
    );
    let report = patient.look_until("mcp-auth", "warning").await;
    assert!(
        report.seen("mcp-auth").contains("on 0.0.0.0"),
        "{}",
        report.seen("mcp-auth")
    );
    assert_eq!(report.verdict("mcp-keys"), "not used");
    drop(open);

    // Nobody is there to verify a token.
    let keys = format!("http://127.0.0.1:{}/keys", nobody());
    let tokens = |keys: &str| {
        let resource = "http://127.0.0.1/mcp";
        let set = [
            ("LISTEN_ADDRESS", "0.0.0.0"),
            ("MCP_AUTH", "jwt"),
            ("MCP_JWKS_URL", keys),
            ("MCP_ISSUER", "http://127.0.0.1"),
            ("MCP_RESOURCE", resource),
        ];
        beside(&patient, &folder, &gateway, &set)
    };
    let gone = tokens(&keys);
    let report = patient.look_until("mcp-keys", "wrong").await;
    assert!(
        report.seen("mcp-keys").contains(&keys),
        "{}",
        report.seen("mcp-keys")
    );
    drop(gone);

    let empty = format!("http://{}/keys", answers(r#"{"keys": []}"#));
    let without = tokens(&empty);
    let report = patient.look_until("mcp-keys", "wrong").await;
    let seen = report.seen("mcp-keys");
    assert!(
        seen.contains(&empty) && seen.contains("it has no key"),
        "{seen}"
    );
    drop(without);

    let good = format!("http://{}/keys", answers(r#"{"keys": [{"kty": "OKP"}]}"#));
    let _good = tokens(&good);
    let report = patient.look_until("mcp-keys", "well").await;
    assert!(report.seen("mcp-keys").contains(&good));
    patient.look_until("mcp-auth", "well").await;
}

#[tokio::test]
async fn a_mount_without_its_server_and_tools_that_wait_are_named() {
    let patient = Patient::start().await;
    let folder = TempDir::new().unwrap();
    assert_eq!(patient.look().verdict("mounts"), "not used");
    // A server that ends at once.
    let mount = ["mount", "--name", "broken", "--", "false"];
    let set = [
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("TOOL_PORT", "0"),
        ("PATH", "/usr/bin:/bin"),
    ];
    let mount = beside(&patient, &folder, &mount, &set);
    let report = patient.look_until("mounts", "wrong").await;
    assert!(
        report.seen("mounts").contains("broken"),
        "{}",
        report.seen("mounts")
    );
    assert_eq!(report.verdict("mcp-pins"), "well");
    drop(mount);

    // One whose tools changed, as its admin listener tells.
    let admin = answers("mesh_mount_up 1\nmesh_mount_blocked_tools 2\n");
    let meta = json!({ "admin_port": admin.port().to_string() });
    patient
        .register(registration(
            "changed-1",
            "tool-changed",
            admin.port(),
            &meta,
        ))
        .await;
    let report = patient.look_until("mcp-pins", "warning").await;
    assert!(
        report.seen("mcp-pins").contains("2 of changed-1"),
        "{}",
        report.seen("mcp-pins")
    );
}
