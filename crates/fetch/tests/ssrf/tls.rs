//! Certificates are checked against the name, though the connection goes to a checked address.

use std::{net::SocketAddr, sync::Arc};

use mesh_fetch::{EgressPolicy, Error, FetchLimits, HttpClient, Request};
use testkit::Certificate;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::support::{Internet, PUBLIC};

async fn serve(certificate: &Certificate) -> (SocketAddr, JoinSet<()>) {
    let identity = native_tls::Identity::from_pkcs8(&certificate.pem(), &certificate.key_pem());
    let acceptor = native_tls::TlsAcceptor::new(identity.unwrap()).unwrap();
    let acceptor = tokio_native_tls::TlsAcceptor::from(acceptor);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not like the certificate leaves here.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsafe";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn the_certificate_is_that_of_the_name_and_of_a_trusted_authority() {
    let certificate = Certificate::for_host("a.example");
    let (address, _tasks) = serve(&certificate).await;
    let internet = Internet::new(
        address,
        &[("a.example", &[PUBLIC]), ("b.example", &[PUBLIC])],
    );
    let root = native_tls::Certificate::from_pem(&certificate.pem()).unwrap();
    let trusting = native_tls::TlsConnector::builder()
        .add_root_certificate(root)
        .build();
    let policy = EgressPolicy::new(true, &[]);
    let client = |tls| {
        HttpClient::with(
            policy.clone(),
            FetchLimits::default(),
            internet.clone() as Arc<_>,
            tls,
        )
    };
    let trusting = client(trusting.unwrap());
    let get = |url: &str| Request::get(url.parse().unwrap());
    let got = trusting.send(get("https://a.example/")).await.unwrap();
    assert_eq!(got.body, "safe");
    let system = client(native_tls::TlsConnector::new().unwrap());
    for (client, url) in [
        (&trusting, "https://b.example/"),
        (&system, "https://a.example/"),
    ] {
        let error = client.send(get(url)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { reason, .. } if reason.contains("TLS")),
            "{error}"
        );
    }
}
