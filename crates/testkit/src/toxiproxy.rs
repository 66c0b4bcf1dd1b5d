//! toxiproxy: a network between two programs that is slow, narrow or broken on command.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Process, http_client, ports, tools, wait};

/// How long it may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A toxiproxy in front of one address.
#[derive(Debug)]
pub struct Toxiproxy {
    api: SocketAddr,
    listen: SocketAddr,
    _process: Process,
}

impl Toxiproxy {
    /// Starts one that forwards to this address, unharmed for now.
    pub async fn start(upstream: SocketAddr) -> Self {
        for _ in 0..3 {
            let [api, listen] = ports::free().map(|port| (Ipv4Addr::LOCALHOST, port).into());
            let mut command = Command::new(tools::tool("toxiproxy"));
            command.args([
                "-host",
                "127.0.0.1",
                "-port",
                &SocketAddr::port(&api).to_string(),
            ]);
            let mut process = Process::start("toxiproxy", command);
            let serves = wait::until("toxiproxy serves", START, async || {
                if process.exit_status().is_some() {
                    return Some(false);
                }
                let version = http_client::get(&format!("http://{api}/version")).await;
                version.map(|(code, _)| code == 200)
            });
            if serves.await {
                let proxy = json!({ "name": "mesh", "listen": listen, "upstream": upstream });
                http_client::post(&format!("http://{api}/proxies"), proxy.to_string()).await;
                return Self {
                    api,
                    listen,
                    _process: process,
                };
            }
            // Somebody took the port.
        }
        panic!("toxiproxy does not come up");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Does this to the bytes that come back, for every connection: a toxic by its kind and
    /// attributes, as toxiproxy's documents list them.
    pub async fn add_toxic(&self, kind: &str, attributes: &Value) {
        let toxic = json!({ "name": kind, "type": kind, "attributes": attributes });
        http_client::post(&self.toxics(), toxic.to_string()).await;
    }

    /// Takes it away again.
    pub async fn remove_toxic(&self, kind: &str) {
        http_client::delete(&format!("{}/{kind}", self.toxics())).await;
    }

    fn toxics(&self) -> String {
        format!("http://{}/proxies/mesh/toxics", self.api)
    }
}
