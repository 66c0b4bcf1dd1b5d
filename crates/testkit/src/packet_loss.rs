//! Lost packets: a filter on our own end of a connection drops what comes before TCP sees it, so
//! that the peer gets no acknowledgement, no reset and no end, as from a machine that is gone.
//! It needs no privilege, and is gone with the socket.

use std::{io, net::SocketAddr};

use socket2::{SockFilter, SockRef, Socket};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Drops every packet that comes for a socket, from now on. What the socket has to send is its
/// owner's to hold back.
pub(crate) fn drop_incoming(socket: &Socket) {
    // BPF's `ret 0`: of each packet nothing is kept.
    let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
    let attached = socket.attach_filter(&drop_all);
    attached.expect("Linux filters sockets");
}

/// A way to one address that can be cut: then no packet comes through, in either direction.
#[derive(Debug)]
pub struct BreakableLink {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl BreakableLink {
    /// Lays one to this address.
    pub async fn open(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (cut, watched) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, target, watched));
        Self {
            address,
            cut,
            _tasks: tasks,
        }
    }

    /// Its near end.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Mends it: TCP sends again what was lost, unless a side has given up meanwhile.
    pub fn restore(&self) {
        self.cut.send_replace(false);
    }
}

async fn listen(listener: TcpListener, target: SocketAddr, mut cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((socket, _)) = listener.accept() => {
                connections.spawn(forward(socket, target, cut.clone()));
            }
            Some(_) = connections.join_next() => {}
            Ok(()) = cut.changed() => follow(&SockRef::from(&listener), &mut cut),
        }
    }
}

fn follow(socket: &Socket, cut: &mut watch::Receiver<bool>) {
    if *cut.borrow_and_update() {
        drop_incoming(socket);
    } else {
        // One that was opened while all was well has nothing to detach.
        socket.detach_filter().ok();
    }
}

async fn forward(mut near: TcpStream, target: SocketAddr, mut cut: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    follow(&SockRef::from(&near), &mut cut);
    let (mut there, mut back) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let whole = !*cut.borrow();
        // Reading is cancel-safe, and writing is not interrupted.
        let passed: io::Result<usize> = tokio::select! {
            Ok(()) = cut.changed() => {
                follow(&SockRef::from(&near), &mut cut);
                continue;
            }
            read = near.read(&mut there), if whole => match read {
                Ok(count) => far.write_all(&there[..count]).await.map(|()| count),
                error => error,
            },
            read = far.read(&mut back), if whole => match read {
                Ok(count) => near.write_all(&back[..count]).await.map(|()| count),
                error => error,
            },
            else => return,
        };
        if !matches!(passed, Ok(1..)) {
            return;
        }
    }
}
