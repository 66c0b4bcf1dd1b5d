//! One Redis, or many that are a cluster: how to connect, and how to send.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo as _, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a cluster's client follows a slot that moved, or tries a node that does not answer.
const RETRIES: u32 = 3;
/// What the addresses of clusters begin with, and how one of their nodes is spoken to.
const CLUSTERS: [(&str, &str); 2] = [
    ("redis+cluster://", "redis"),
    ("rediss+cluster://", "rediss"),
];
/// Longer than anything blocks.
const NEVER: Duration = Duration::from_secs(86_400);

pub(super) enum Server {
    One(Client),
    Many {
        client: Box<ClusterClient>,
        nodes: String,
    },
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address()).finish()
    }
}

impl Server {
    /// `redis://host:port`, or `redis+cluster://[user:password@]host:port,host:port` with some of
    /// the cluster's nodes; with `rediss` over TLS.
    pub(super) fn new(url: &str) -> RedisResult<Self> {
        let cluster = CLUSTERS
            .iter()
            .find_map(|(start, scheme)| Some((*scheme, url.strip_prefix(start)?)));
        let Some((scheme, nodes)) = cluster else {
            return Ok(Self::One(Client::open(url)?));
        };
        let (login, nodes) = nodes
            .rsplit_once('@')
            .map_or(("", nodes), |(login, nodes)| (login, nodes));
        let at = if login.is_empty() { "" } else { "@" };
        let urls = nodes
            .split(',')
            .map(|node| format!("{scheme}://{login}{at}{node}"));
        let infos = urls
            .map(|url| url.into_connection_info())
            .collect::<RedisResult<Vec<_>>>()?;
        let client = ClusterClient::builder(infos)
            .retries(RETRIES)
            .max_retry_wait(200)
            .build()?;
        Ok(Self::Many {
            client: Box::new(client),
            nodes: nodes.to_owned(),
        })
    }

    /// Without user and password.
    pub(super) fn address(&self) -> String {
        match self {
            Self::One(client) => client.get_connection_info().addr().to_string(),
            Self::Many { nodes, .. } => nodes.clone(),
        }
    }

    /// Connects; answers may take so long, or for ever.
    pub(super) async fn dial(&self, answer: Option<Duration>) -> RedisResult<Connection> {
        match self {
            Self::One(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(answer);
                let dialed = client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?;
                Ok(Connection::One(dialed))
            }
            Self::Many { client, .. } => {
                let config = ClusterConfig::new()
                    .set_connection_timeout(CONNECT)
                    .set_response_timeout(answer.unwrap_or(NEVER));
                let dialed = client.get_async_connection_with_config(config).await?;
                Ok(Connection::Many(dialed))
            }
        }
    }
}

#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => connection.send_packed_command(command).await,
            Self::Many(connection) => connection.req_packed_command(command).await,
        }
    }
}
