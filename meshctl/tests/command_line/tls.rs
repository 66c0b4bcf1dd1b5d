//! A gateway behind TLS, as ingresses are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, process::Command};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    pkey::PKey,
    rsa::Rsa,
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    gateway::Gateway,
    mesh::{Answer, meshctl, run_command},
};

/// A certificate for `localhost`, which is its own authority: in PEM, and to be served.
fn certificate() -> (Vec<u8>, native_tls::Identity) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    let (from, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    builder.set_not_before(&from.unwrap()).unwrap();
    builder.set_not_after(&until.unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let ca = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(ca).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let pem = builder.build().to_pem().unwrap();
    let key = key.private_key_to_pem_pkcs8().unwrap();
    let identity = native_tls::Identity::from_pkcs8(&pem, &key).unwrap();
    (pem, identity)
}

/// Ends TLS before a gateway.
async fn ingress(to: SocketAddr, identity: native_tls::Identity) -> (u16, JoinSet<()>) {
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
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
    let (pem, identity) = certificate();
    let (port, _ingress) = ingress(gateway.running.grpc_addr, identity).await;
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();

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
