//! The last known set on the disk.

use std::{path::Path, sync::Arc};

use mesh_discovery::{
    Discovery, Registration,
    backends::{Consul, ConsulOptions},
};
use tokio::time::{Instant, sleep};

use crate::support::{SECOND, agent::Agent, registration, seen, serving};

fn remembering(agent: &Agent, path: &Path) -> Arc<dyn Discovery> {
    let options = ConsulOptions {
        cache: Some(path.to_owned()),
        ..ConsulOptions::at(agent.address())
    };
    Arc::new(Consul::new(options).expect("a usable address"))
}

async fn holds(path: &Path, text: &str) {
    let begun = Instant::now();
    while !std::fs::read_to_string(path).is_ok_and(|file| file.contains(text)) {
        assert!(begun.elapsed() < SECOND * 10, "{text} is not written");
        sleep(SECOND / 20).await;
    }
}

#[tokio::test]
async fn a_start_without_consul_finds_what_was_known_and_a_start_with_it_the_truth() {
    let mut agent = Agent::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    let first = remembering(&agent, &path);
    first
        .register(&registration("agent-echo", "echo-1"))
        .await
        .unwrap();
    first
        .write("services/agent-echo/lb_policy", Some("random"))
        .await
        .unwrap();
    let (mut receiver, catalog, entries) =
        (first.watch("agent-echo"), first.catalog(), first.entries());
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    for text in ["echo-1", r#""agent-echo":["agent","echo"]"#, "lb_policy"] {
        holds(&path, text).await;
    }
    drop((receiver, catalog, entries, first));

    // With Consul there, what is on the disk is of no account.
    agent.put("agent/service/deregister/echo-1", "").await;
    let second = remembering(&agent, &path);
    let mut receiver = second.watch("agent-echo");
    let snapshot = seen(&mut receiver, SECOND * 5, |_| true).await;
    assert_eq!(snapshot.instances.len(), 0);
    assert_eq!(second.status().cached_seconds, None);
    second
        .register(&Registration {
            port: 7,
            ..registration("agent-echo", "echo-2")
        })
        .await
        .unwrap();
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    holds(&path, "echo-2").await;
    drop((receiver, second));

    agent.kill().await;
    let third = remembering(&agent, &path);
    let mut receiver = third.watch("agent-echo");
    let snapshot = seen(&mut receiver, SECOND * 3, |_| true).await;
    assert_eq!(snapshot.instances[0].authority(), "127.0.0.1:7");
    let mut catalog = third.catalog();
    let known = catalog
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(known.services["agent-echo"], ["agent", "echo"]);
    let mut entries = third.entries();
    let known = entries
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(&*known.values["services/agent-echo/lb_policy"], "random");
    let status = third.status();
    assert!(
        status.cached_seconds.is_some() && status.error.is_some(),
        "{status:?}"
    );
    // A Consul that comes back empty does not empty it at once: whoever lives registers again.
    agent.restart().await;
    sleep(SECOND * 8).await;
    assert_eq!(serving(&receiver), 1);
    assert_eq!(third.status().cached_seconds, None);
}

#[tokio::test]
async fn a_file_that_is_broken_is_ignored_and_written_anew() {
    let agent = Agent::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    std::fs::write(&path, r#"{"format": 1, "registry"#).unwrap();
    let consul = remembering(&agent, &path);
    consul
        .register(&registration("agent-echo", "echo-1"))
        .await
        .unwrap();
    let mut receiver = consul.watch("agent-echo");
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    holds(&path, "echo-1").await;
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside it");
}
