//! What operators write into KV.

use std::sync::Arc;

use mesh_discovery::KvEntries;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::support::{SECOND, agent::Agent, consul};

type Receiver = watch::Receiver<Option<Arc<KvEntries>>>;

async fn seen(receiver: &mut Receiver, condition: impl Fn(&KvEntries) -> bool) {
    let waited = receiver.wait_for(|now| now.as_deref().is_some_and(&condition));
    let seen = timeout(SECOND * 5, waited).await.map(|seen| seen.is_ok());
    assert_eq!(seen, Ok(true), "last known: {:?}", receiver.borrow());
}

fn value<'a>(entries: &'a KvEntries, key: &str) -> Option<&'a str> {
    entries.values.get(key).map(AsRef::as_ref)
}

#[tokio::test]
async fn an_entry_is_seen_when_it_is_written_changed_and_removed() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    let mut receiver = consul.entries();
    // A prefix without any key is an answer too.
    seen(&mut receiver, |entries| entries.values.is_empty()).await;
    agent.put("kv/mesh/services/agent-echo/", "").await;
    agent.put("kv/meshing", "of somebody else").await;
    let key = "services/agent-echo/lb_policy";
    agent.put(&format!("kv/mesh/{key}"), "session\n").await;
    seen(&mut receiver, |entries| {
        value(entries, key) == Some("session") && entries.values.len() == 1
    })
    .await;
    consul.write(key, Some("random")).await.unwrap();
    seen(&mut receiver, |entries| {
        value(entries, key) == Some("random")
    })
    .await;
    consul.write(key, None).await.unwrap();
    seen(&mut receiver, |entries| entries.values.is_empty()).await;
    assert!(consul.write("a b", Some("x")).await.is_err());
}

#[tokio::test]
async fn a_consul_that_forgot_its_kv_does_not_take_the_settings_along_at_once() {
    let mut agent = Agent::start().await;
    let consul = consul(&agent.address());
    let mut receiver = consul.entries();
    consul
        .write("services/a/lb_policy", Some("random"))
        .await
        .unwrap();
    seen(&mut receiver, |entries| entries.values.len() == 1).await;
    agent.kill().await;
    sleep(SECOND).await;
    agent.restart().await;
    // Past the longest pause between two questions: it has been asked, and said that there is none.
    sleep(SECOND * 7).await;
    assert_eq!(receiver.borrow().as_ref().unwrap().values.len(), 1);
    consul
        .write("services/b/lb_policy", Some("session"))
        .await
        .unwrap();
    seen(&mut receiver, |entries| entries.values.len() == 2).await;
}
