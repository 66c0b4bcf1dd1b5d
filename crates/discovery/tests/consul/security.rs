//! Tokens and certificates.

use mesh_discovery::{
    Discovery, Error,
    backends::{Consul, ConsulOptions},
};
use testkit::Certificate;
use tokio::time::{Instant, sleep};

use crate::support::{SECOND, agent::Agent, consul, registration, seen, serving};

#[tokio::test]
async fn a_wrong_token_is_refused_in_consuls_words() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let agent = Agent::start_with(&[acl]).await;
    let with = |token: &str| {
        let (address, token) = (agent.address(), Some(token.to_owned()));
        Consul::new(ConsulOptions {
            token,
            ..ConsulOptions::at(address)
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

/// Consul 1.8 answers an empty list to a token that may not read nodes, and says nothing of it.
#[tokio::test]
async fn a_token_that_may_see_no_node_is_told_so_and_keeps_what_was_known() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let agent = Agent::start_with(&[acl]).await;
    let with = |token: &str| {
        let (address, token) = (agent.address(), Some(token.to_owned()));
        Consul::new(ConsulOptions {
            token,
            // Nothing wakes a query when a policy changes.
            wait: SECOND,
            ..ConsulOptions::at(address)
        })
        .unwrap()
    };
    let root = with("root");
    let begun = Instant::now();
    while let Err(error) = root.register(&registration("agent-echo", "echo-1")).await {
        assert!(begun.elapsed() < SECOND * 20, "{error}");
        sleep(SECOND / 5).await;
    }
    let services =
        r#"service_prefix \"\" { policy = \"write\" } key_prefix \"\" { policy = \"write\" }"#;
    let nodes = format!(r#"{services} node_prefix \"\" {{ policy = \"read\" }}"#);
    let policy = |rules: &str| format!(r#"{{"Name": "mesh", "Rules": "{rules}"}}"#);
    let made = agent.ask("acl/policy", &policy(services)).await;
    let id = made["ID"].as_str().unwrap().to_owned();
    let token = agent
        .ask("acl/token", r#"{"Policies": [{"Name": "mesh"}]}"#)
        .await;
    let half = with(token["SecretID"].as_str().unwrap());

    // It may write, and read the names of services.
    half.register(&registration("agent-other", "other-1"))
        .await
        .unwrap();
    let catalog = half.catalog();
    let mut receiver = half.watch("agent-echo");
    let told = async |there: bool| {
        let begun = Instant::now();
        while half.status().error.is_some() != there {
            assert!(begun.elapsed() < SECOND * 20, "{:?}", half.status());
            sleep(SECOND / 20).await;
        }
        half.status().error.unwrap_or_default()
    };
    let trouble = told(true).await;
    assert!(trouble.contains("node:read"), "{trouble}");
    assert!(
        receiver.borrow().is_none(),
        "that is not to say that nobody is there"
    );
    assert!(catalog.borrow().is_some());

    agent
        .ask(&format!("acl/policy/{id}"), &policy(&nodes))
        .await;
    seen(&mut receiver, SECOND * 40, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    told(false).await;

    // The right is lost again: what was known stays.
    agent
        .ask(&format!("acl/policy/{id}"), &policy(services))
        .await;
    told(true).await;
    assert_eq!(serving(&receiver), 1);
}

#[tokio::test]
async fn a_token_that_may_read_nothing_is_told_so() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let agent = Agent::start_with(&[acl]).await;
    let consul = consul(&agent.address());
    let catalog = consul.catalog();
    let begun = Instant::now();
    while consul
        .status()
        .error
        .is_none_or(|it| !it.contains("shows nothing to this token"))
    {
        assert!(begun.elapsed() < SECOND * 20, "{:?}", consul.status());
        sleep(SECOND / 20).await;
    }
    assert!(catalog.borrow().is_none());
}

#[tokio::test]
async fn removing_an_instance_that_is_gone_is_no_error() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    consul.deregister("nobody").await.unwrap();
}

#[tokio::test]
async fn https_works_with_the_right_authority_and_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificate::for_host("ca");
    let [ca, _] = authority.write(dir.path(), "ca");
    let [other, _] = Certificate::for_host("other").write(dir.path(), "other");
    let issue = |name: &str| authority.sign("127.0.0.1").write(dir.path(), name);
    let [server, server_key] = issue("server");
    let [client, client_key] = issue("client");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let agent = Agent::start_with(&[
        &format!("ports {{ https = {port} }} verify_incoming_https = true"),
        &format!("ca_file = {ca:?} cert_file = {server:?} key_file = {server_key:?}"),
    ])
    .await;
    let good = ConsulOptions {
        ca_file: Some(ca),
        client_cert: Some(client),
        client_key: Some(client_key),
        ..ConsulOptions::at(format!("https://127.0.0.1:{port}"))
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
        ca_file: Some(other),
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
