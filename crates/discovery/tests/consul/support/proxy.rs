//! A TCP proxy in front of Consul that counts.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Forwards to one address, and counts.
pub(crate) struct Proxy {
    address: String,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, counts.clone()));
        Self {
            address,
            counts,
            _tasks: tasks,
        }
    }

    /// Its address as `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// The most connections that were open at one time.
    pub(crate) fn most(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, target: String, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(forward(client, target.clone(), counts.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(mut client: TcpStream, target: String, counts: Arc<Counts>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let open = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
    counts.most.fetch_max(open, Ordering::Relaxed);
    let (mut from_client, mut from_server) = ([0; 16384], [0; 16384]);
    loop {
        // Reading is cancel-safe; writing to a peer that reads is short.
        let done = tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(length) if length > 0 => {
                    // The client writes each of its requests, which have no bodies, at once.
                    let request = from_client.starts_with(b"GET ");
                    counts.requests.fetch_add(usize::from(request), Ordering::Relaxed);
                    server.write_all(&from_client[..length]).await.is_err()
                }
                _ => true,
            },
            read = server.read(&mut from_server) => match read {
                Ok(length) if length > 0 => client.write_all(&from_server[..length]).await.is_err(),
                _ => true,
            },
        };
        if done {
            break;
        }
    }
    counts.open.fetch_sub(1, Ordering::Relaxed);
}
