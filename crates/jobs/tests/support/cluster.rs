//! A real Redis Cluster of three, one for all tests of a process that run at the time.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use super::redis_server::RedisServer;

static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn shared() -> Arc<Self> {
        // A test that failed while it started one leaves nothing behind.
        let mut running = RUNNING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(cluster) = running.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start());
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

    fn start() -> Self {
        let mut nodes = Vec::new();
        let mut first = None;
        for slots in [("0", "5460"), ("5461", "10922"), ("10923", "16383")] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let bus = listener.local_addr().unwrap().port().to_string();
            drop(listener);
            let node = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
            say(&node, &["ADDSLOTSRANGE", slots.0, slots.1]);
            let (port, bus) = first.get_or_insert((node.port().to_string(), bus));
            if !nodes.is_empty() {
                say(&node, &["MEET", "127.0.0.1", port, bus]);
            }
            nodes.push(node);
        }
        let end = Instant::now() + Duration::from_secs(20);
        while !nodes.iter().all(knows_all) {
            assert!(Instant::now() < end, "the cluster does not come together");
            thread::sleep(Duration::from_millis(50));
        }
        Self { nodes }
    }
}

fn say(node: &RedisServer, words: &[&str]) -> String {
    let client = redis::Client::open(node.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    redis::cmd("CLUSTER")
        .arg(words)
        .query(&mut connection)
        .unwrap()
}

fn knows_all(node: &RedisServer) -> bool {
    let info = say(node, &["INFO"]);
    info.contains("cluster_state:ok") && say(node, &["NODES"]).lines().count() == 3
}
