//! A real Redis Cluster of three, one for all tests of a process that run at the time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use testkit::{Redis, ports, until};
use tokio::sync::Mutex;

static RUNNING: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());

pub(crate) struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) async fn shared() -> Arc<Self> {
        let mut running = RUNNING.lock().await;
        if let Some(cluster) = running.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start().await);
        *running = Arc::downgrade(&cluster);
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let nodes = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()));
        format!("redis+cluster://{}", nodes.collect::<Vec<_>>().join(","))
    }

    async fn start() -> Self {
        let mut nodes = Vec::new();
        let mut first = None;
        for slots in [("0", "5460"), ("5461", "10922"), ("10923", "16383")] {
            let [bus] = ports::free().map(|port| port.to_string());
            let node = Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
            say(&node, &["ADDSLOTSRANGE", slots.0, slots.1]);
            let (port, bus) = first.get_or_insert((node.port().to_string(), bus));
            if !nodes.is_empty() {
                say(&node, &["MEET", "127.0.0.1", port, bus]);
            }
            nodes.push(node);
        }
        until(
            "the cluster comes together",
            Duration::from_secs(20),
            async || nodes.iter().all(knows_all).then_some(()),
        )
        .await;
        Self { nodes }
    }
}

fn say(node: &Redis, words: &[&str]) -> String {
    let client = redis::Client::open(node.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    redis::cmd("CLUSTER")
        .arg(words)
        .query(&mut connection)
        .unwrap()
}

fn knows_all(node: &Redis) -> bool {
    let info = say(node, &["INFO"]);
    info.contains("cluster_state:ok") && say(node, &["NODES"]).lines().count() == 3
}
