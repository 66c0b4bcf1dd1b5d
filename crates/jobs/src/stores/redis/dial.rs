//! One Redis, the one that sentinels name, or many that are a cluster: how to connect, and how to
//! send.

use std::time::Duration;

use redis::{
    Client, Cmd, ErrorKind, IntoConnectionInfo as _, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
};

use super::{
    client::{Authority, CONNECT_TIMEOUT, client, connect, tcp},
    sentinel::Sentinels,
};

/// How often a cluster's client follows a slot that moved, or tries a node that does not answer.
const RETRIES: u32 = 3;
/// What the addresses of several servers begin with, and how one of them is spoken to.
const CLUSTERS: [(&str, &str); 2] = [
    ("redis+cluster://", "redis"),
    ("rediss+cluster://", "rediss"),
];
const SENTINELS: [(&str, &str); 2] = [
    ("redis+sentinel://", "redis"),
    ("rediss+sentinel://", "rediss"),
];
/// Longer than anything blocks.
const NEVER: Duration = Duration::from_secs(86_400);

pub(super) enum Server {
    One(Client),
    Primary(Box<Sentinels>),
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
    /// `redis://host:port`, `redis+unix:///path`, `redis+sentinel://host:port,host:port/name`, or
    /// `redis+cluster://[user:password@]host:port,host:port` with some of the cluster's nodes; with
    /// `rediss` over TLS.
    pub(super) fn new(url: &str, authority: Authority) -> RedisResult<Self> {
        let several = |table: [(&'static str, &'static str); 2]| {
            let mut rows = table.into_iter();
            rows.find_map(|(start, scheme)| Some((scheme, url.strip_prefix(start)?)))
        };
        if let Some((scheme, rest)) = several(SENTINELS) {
            let sentinels = Sentinels::new(rest, scheme, authority)?;
            return Ok(Self::Primary(Box::new(sentinels)));
        }
        let Some((scheme, nodes)) = several(CLUSTERS) else {
            return Ok(Self::One(client(url.into_connection_info()?, &authority)?));
        };
        if authority.is_some() {
            let what =
                "redis_cacert does not go with a cluster: name the authorities by SSL_CERT_FILE";
            return Err((ErrorKind::InvalidClientConfig, what).into());
        }
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
            .tcp_settings(tcp())
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
            Self::Primary(sentinels) => sentinels.address.clone(),
            Self::Many { nodes, .. } => nodes.clone(),
        }
    }

    /// Whether it is a cluster.
    pub(super) const fn is_many(&self) -> bool {
        matches!(self, Self::Many { .. })
    }

    /// Connects, and returns the address if that may change. Answers may take as long as `answer`,
    /// or for ever.
    pub(super) async fn dial(
        &self,
        answer: Option<Duration>,
    ) -> RedisResult<(Connection, Option<String>)> {
        match self {
            Self::One(client) => Ok((Connection::One(connect(client, answer).await?), None)),
            Self::Primary(sentinels) => {
                let (dialed, place) = sentinels.dial(answer).await?;
                Ok((Connection::One(dialed), Some(place)))
            }
            Self::Many { client, .. } => {
                let config = ClusterConfig::new()
                    .set_connection_timeout(CONNECT_TIMEOUT)
                    .set_response_timeout(answer.unwrap_or(NEVER));
                let dialed = client.get_async_connection_with_config(config).await?;
                Ok((Connection::Many(dialed), None))
            }
        }
    }

    /// The primary's address by the sentinels, if there are any that answer.
    pub(super) async fn place(&self) -> Option<String> {
        let Self::Primary(sentinels) = self else {
            return None;
        };
        let (host, port) = sentinels.primary().await.ok()?;
        Some(format!("{host}:{port}"))
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
        let answer = match self {
            Self::One(connection) => connection.send_packed_command(command).await,
            Self::Many(connection) => connection.req_packed_command(command).await,
        };
        answer.and_then(Value::extract_error)
    }
}
