//! A gateway behind TLS, as ingresses are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, process::Command};

use testkit::Certificate;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    gateway::Gateway,
    mesh::{Answer, meshctl, run_command},
};

/// Ends TLS before a gateway.
async fn ingress(to: SocketAddr, certificate: &Certificate) -> (u16, JoinSet<()>) {
    let identity = native_tls::Identity::from_pkcs8(&certificate.pem(), &certificate.key_pem());
    let acceptor = native_tls::TlsAcceptor::new(identity.unwrap()).unwrap();
    let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // A client that does not trust us goes away.
                let Ok(mut client) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok();
            });
        }
    });
    (port, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_behind_tls_is_asked_when_its_authority_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&[]).await;
    let certificate = Certificate::for_host("localhost");
    let (port, _ingress) = ingress(gateway.running.grpc_addr, &certificate).await;
    let [file, _] = certificate.write(folder.path(), "ca");

    let url = format!("https://localhost:{port}");
    let ask = |url: &str, more: &dyn Fn(&mut Command) -> &mut Command| -> Answer {
        let mut command = meshctl(&["jobs", "queues", "--gateway", url, "--json"]);
        more(&mut command);
        run_command(command, "")
    };
    ask(&url, &|it| it.env("SSL_CERT_FILE", &file)).ok();
    ask(&url, &|it| it.env("MESH_GATEWAY_CACERT", &file)).ok();
    ask(&url, &|it| it.arg("--cacert").arg(&file)).ok();

    let payload = r#"{"url":"http://somewhere/"}"#;
    let mut submit = meshctl(&["jobs", "submit", "http", payload, "--delay", "1h"]);
    submit.env("MESH_GATEWAY", &url).arg("--cacert").arg(&file);
    let id = run_command(submit, "").ok().stdout;
    let mut cancel = meshctl(&["jobs", "cancel", id.trim(), "--gateway", &url]);
    cancel.arg("--cacert").arg(&file);
    run_command(cancel, "").ok();
    let mut watch = meshctl(&["jobs", "watch", id.trim(), "--gateway", &url]);
    watch.arg("--cacert").arg(&file);
    assert_eq!(run_command(watch, "").code, Some(4), "events come too");

    let refused = |answer: Answer, said: &str| {
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stdout.contains(said), "{answer:?}");
    };
    refused(ask(&url, &|it| it), "--cacert");
    // The certificate is for another name.
    let other = format!("https://127.0.0.1:{port}");
    refused(
        ask(&other, &|it| it.arg("--cacert").arg(&file)),
        "certificate",
    );
    let plain = format!("https://{}", gateway.address());
    refused(ask(&plain, &|it| it), "write http://");
    refused(
        ask(&url, &|it| it.args(["--cacert", "/no/such"])),
        "/no/such",
    );
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    refused(
        ask(&url, &|it| it.arg("--cacert").arg(&empty)),
        "no certificate",
    );
    let secret = "https://me:hunter2@localhost";
    let answer = ask(secret, &|it| it);
    assert_eq!(answer.code, Some(1));
    assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
}
