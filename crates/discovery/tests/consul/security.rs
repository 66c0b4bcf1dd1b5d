//! Tokens and certificates.

use std::path::Path;

use mesh_discovery::{
    Discovery, Error,
    backends::{Consul, ConsulOptions},
};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::support::{SECOND, agent::Agent, consul, registration, seen};

#[tokio::test]
async fn a_wrong_token_is_refused_in_consuls_words() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let agent = Agent::start_with(&[acl]).await;
    let with = |token: &str| {
        let (address, token) = (agent.address(), Some(token.to_owned()));
        Consul::new(ConsulOptions {
            address,
            token,
            ..ConsulOptions::default()
        })
        .unwrap()
    };
    let it = registration("agent-echo", "echo-1");
    let right = with("root");
    let begun = Instant::now();
    // The master token exists only once the agent leads.
    while let Err(error) = right.register(&it).await {
        assert!(begun.elapsed() < SECOND * 20, "{error}");
        sleep(SECOND / 5).await;
    }
    let mut receiver = right.watch("agent-echo");
    seen(&mut receiver, SECOND * 10, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;

    let wrong = with("wrong");
    let error = wrong.register(&it).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("ACL not found"), "{error}");
    assert!(matches!(
        wrong.is_registered("echo-1").await,
        Err(Error::Refused { .. })
    ));
}

#[tokio::test]
async fn https_works_with_the_right_authority_and_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    for authority in ["ca", "other"] {
        openssl(dir.path(), &format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem")).await;
    }
    std::fs::write(dir.path().join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    for name in ["server", "client"] {
        openssl(
            dir.path(),
            &format!(
                "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ),
        )
        .await;
        openssl(dir.path(), &format!("x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem")).await;
    }
    let file = |name: &str| dir.path().join(name);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let agent = Agent::start_with(&[
        &format!("ports {{ https = {port} }} verify_incoming_https = true"),
        &format!(
            "ca_file = {:?} cert_file = {:?}",
            file("ca.pem"),
            file("server.pem")
        ),
        &format!("key_file = {:?}", file("server.key")),
    ])
    .await;
    let good = ConsulOptions {
        address: format!("https://127.0.0.1:{port}"),
        ca_file: Some(file("ca.pem")),
        client_cert: Some(file("client.pem")),
        client_key: Some(file("client.key")),
        ..ConsulOptions::default()
    };
    let it = registration("agent-echo", "echo-1");
    Consul::new(good.clone())
        .unwrap()
        .register(&it)
        .await
        .unwrap();
    assert!(
        consul(&agent.address())
            .is_registered("echo-1")
            .await
            .unwrap()
    );

    let wrong_ca = ConsulOptions {
        ca_file: Some(file("other.pem")),
        ..good.clone()
    };
    let error = Consul::new(wrong_ca)
        .unwrap()
        .register(&it)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("certificate"), "{error}");
    let no_certificate = ConsulOptions {
        client_cert: None,
        client_key: None,
        ..good
    };
    let refused = Consul::new(no_certificate).unwrap().register(&it).await;
    assert!(
        matches!(refused, Err(Error::Unreachable { .. })),
        "{refused:?}"
    );
}

async fn openssl(dir: &Path, arguments: &str) {
    let run = Command::new("openssl")
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .await;
    let run = run.expect("openssl is installed");
    assert!(
        run.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}
