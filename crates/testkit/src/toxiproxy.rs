//! toxiproxy: a network between two programs that is slow, narrow or broken on command.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Process, http_client, tools};

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
        let command = |[api, _]: [u16; 2]| {
            let mut command = Command::new(tools::tool("toxiproxy"));
            command.args(["-host", "127.0.0.1", "-port", &api.to_string()]);
            command
        };
        let serves = async |[api, _]: [u16; 2]| {
            let version = http_client::get(&format!("http://127.0.0.1:{api}/version")).await;
            version.is_some_and(|(code, _)| code == 200)
        };
        let (ports, process) = Process::on_free_ports("toxiproxy", START, command, serves).await;
        let [api, listen] = ports.map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let proxy = json!({ "name": "mesh", "listen": listen, "upstream": upstream });
        http_client::post(&format!("http://{api}/proxies"), proxy.to_string()).await;
        Self {
            api,
            listen,
            _process: process,
        }
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
