//! The Redis that sentinels call the primary. They are queried at each connection, so that a
//! failover is followed by connecting anew.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError,
    RedisResult, aio::MultiplexedConnection,
};

use super::client::{Authority, CONNECT_TIMEOUT, client, connect};

/// Where sentinels listen when their address does not say.
const PORT: u16 = 26_379;

/// The sentinels that know the primary.
pub(super) struct Sentinels {
    sentinels: Vec<Client>,
    /// Their addresses and the primary's name, for messages.
    pub(super) address: String,
    primary: String,
    /// Which of them answered last: it is queried first.
    last: AtomicUsize,
    /// How to speak to the primary, whatever its address.
    node: ConnectionInfo,
    authority: Authority,
}

impl Sentinels {
    /// `[user:password@]host:port,host:port/name[/db]`; user and password are the primary's, those
    /// of the sentinels stand behind: `?sentinel_user=…&sentinel_password=…`.
    pub(super) fn new(rest: &str, scheme: &str, authority: Authority) -> RedisResult<Self> {
        let wrong = |what| RedisError::from((ErrorKind::InvalidClientConfig, what));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (primary, db) = path.split_once('/').unwrap_or((path, ""));
        if hosts.is_empty() || primary.is_empty() {
            return Err(wrong(
                "give the sentinels and the primary's name: redis+sentinel://host:26379,host:26379/name",
            ));
        }
        let at = if login.is_empty() { "" } else { "@" };
        let node = format!("{scheme}://{login}{at}primary/{db}").into_connection_info()?;
        let asked = url::form_urlencoded::parse(query.as_bytes());
        let (mut user, mut password) = (None, None);
        for (name, value) in asked {
            match &*name {
                "sentinel_user" => user = Some(value.into_owned()),
                "sentinel_password" => password = Some(value.into_owned()),
                _ => {
                    return Err(wrong(
                        "only sentinel_user and sentinel_password go behind the ?",
                    ));
                }
            }
        }
        let mut sentinels = Vec::new();
        for host in hosts.split(',').map(str::trim) {
            let ported = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let host = if ported {
                host.to_owned()
            } else {
                format!("{host}:{PORT}")
            };
            let info = format!("{scheme}://{host}").into_connection_info()?;
            let mut settings = info.redis_settings().clone();
            if let Some(user) = &user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &password {
                settings = settings.set_password(password);
            }
            sentinels.push(client(info.set_redis_settings(settings), &authority)?);
        }
        Ok(Self {
            sentinels,
            address: format!("{primary} of the sentinels {hosts}"),
            primary: primary.to_owned(),
            last: AtomicUsize::new(0),
            node,
            authority,
        })
    }

    /// The primary's address, by the first sentinel that answers.
    pub(super) async fn primary(&self) -> RedisResult<(String, u16)> {
        let mut last = None;
        let (count, first) = (self.sentinels.len(), self.last.load(Ordering::Relaxed));
        for index in (0..count).map(|step| (first + step) % count) {
            match self.ask(&self.sentinels[index]).await {
                Ok(address) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(address);
                }
                Err(error) => last = Some(error),
            }
        }
        let none = (ErrorKind::EmptySentinelList, "there are no sentinels");
        Err(last.unwrap_or_else(|| none.into()))
    }

    async fn ask(&self, sentinel: &Client) -> RedisResult<(String, u16)> {
        let mut connection = connect(sentinel, Some(CONNECT_TIMEOUT)).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.primary);
        let found: Option<(String, u16)> = command.query_async(&mut connection).await?;
        found.ok_or_else(|| {
            let (what, name) = ("the sentinels know no primary of this name", &self.primary);
            (ErrorKind::MasterNameNotFoundBySentinel, what, name.clone()).into()
        })
    }

    /// Connects to the primary, if it says itself that it is one.
    pub(super) async fn dial(
        &self,
        answer: Option<Duration>,
    ) -> RedisResult<(MultiplexedConnection, String)> {
        let (host, port) = self.primary().await?;
        let place = format!("{host}:{port}");
        let address = match self.node.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = client(self.node.clone().set_addr(address), &self.authority)?;
        Ok((connect(&client, answer).await?, place))
    }
}
