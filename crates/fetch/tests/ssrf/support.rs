//! A small Internet: names and addresses of the test's own, and a server on this machine behind
//! all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mesh_fetch::{Connector, EgressPolicy, FetchLimits, HttpClient};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// An address of the Internet as far as anybody can tell.
pub(crate) const PUBLIC: &str = "93.184.215.14";

/// Resolves by a table, each name's answers in turn and the last for ever; connects to one server
/// whatever the address, and notes the address.
#[derive(Debug)]
pub(crate) struct Internet {
    server: SocketAddr,
    names: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    pub(crate) resolved: Mutex<Vec<String>>,
    pub(crate) connected: Mutex<Vec<SocketAddr>>,
    /// The addresses of the host that asks.
    pub(crate) own: Mutex<Vec<IpAddr>>,
}

impl Internet {
    pub(crate) fn new(server: SocketAddr, names: &[(&str, &[&str])]) -> Arc<Self> {
        let mut table: BTreeMap<String, VecDeque<Vec<IpAddr>>> = BTreeMap::new();
        for (name, addresses) in names {
            let answer = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            table
                .entry((*name).to_owned())
                .or_default()
                .push_back(answer);
        }
        Arc::new(Self {
            server,
            names: Mutex::new(table),
            resolved: Mutex::default(),
            connected: Mutex::default(),
            own: Mutex::default(),
        })
    }
}

#[async_trait::async_trait]
impl Connector for Internet {
    async fn resolve(&self, name: &str, _port: u16) -> io::Result<Vec<IpAddr>> {
        self.resolved.lock().push(name.to_owned());
        let mut names = self.names.lock();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        if answers.len() > 1 {
            return Ok(answers.pop_front().unwrap());
        }
        Ok(answers[0].clone())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().push(address);
        TcpStream::connect(self.server).await
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.lock().contains(&address)
    }
}

/// A client of such an Internet that asks whatever is outside, and the listed hosts.
pub(crate) fn client(internet: &Arc<Internet>, listed: &[&str], limits: FetchLimits) -> HttpClient {
    let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let tls = native_tls::TlsConnector::new().unwrap();
    HttpClient::with(
        EgressPolicy::new(true, &listed),
        limits,
        internet.clone(),
        tls,
    )
}

/// A server that answers as a function says; gone with its value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(async move {
                    drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Full<Bytes>> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}
