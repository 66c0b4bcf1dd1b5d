//! What a reverse proxy made of hyper and nothing else costs: `make bench` measures the router beside
//! it. Calls go round robin to the backends, each with one connection; nothing else is done.
//!
//! ```text
//! plain_proxy 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//! ```

use std::{cell::Cell, error::Error, net::SocketAddr, rc::Rc};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

/// Tasks of the one thread that there is.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

struct Backends {
    senders: Vec<SendRequest<Incoming>>,
    next: Cell<usize>,
}

impl Backends {
    async fn connect(addresses: &[SocketAddr]) -> Result<Self, Box<dyn Error>> {
        let mut senders = Vec::new();
        for address in addresses {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = hyper::client::conn::http2::Builder::new(Local)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(16 << 20)
                .handshake(TokioIo::new(stream))
                .await?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    eprintln!("plain_proxy: a backend's connection: {error}");
                }
            });
            senders.push(sender);
        }
        Ok(Self {
            senders,
            next: Cell::new(0),
        })
    }

    async fn call(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let turn = self.next.get();
        self.next.set(turn.wrapping_add(1));
        let mut sender = self.senders[turn % self.senders.len()].clone();
        sender.send_request(request).await
    }
}

async fn serve(at: SocketAddr, backends: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let backends = Rc::new(Backends::connect(backends).await?);
    let listener = TcpListener::bind(at).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let backends = Rc::clone(&backends);
        let service = service_fn(move |request| Rc::clone(&backends).call(request));
        tokio::task::spawn_local(async move {
            // A client that leaves is no news.
            hyper::server::conn::http2::Builder::new(Local)
                .max_concurrent_streams(2000)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(16 << 20)
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let addresses: Result<Vec<SocketAddr>, _> =
        std::env::args().skip(1).map(|a| a.parse()).collect();
    let addresses = addresses?;
    let Some((at, backends)) = addresses.split_first().filter(|(_, b)| !b.is_empty()) else {
        return Err("usage: plain_proxy LISTEN BACKEND…".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(*at, backends))
}
