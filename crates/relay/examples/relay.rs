//! The engine as a bare proxy, for measurements: calls go round robin to the backends.
//!
//! ```text
//! cargo build --release -p mesh-relay --examples
//! taskset -c 1 backend 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003 &
//! taskset -c 0 relay 127.0.0.1:7000 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003 &
//! taskset -c 1 h2load -c 8 -m 16 -D 5 --warm-up-time 1 -d frame.bin \
//!     -H 'content-type: application/grpc' -H 'te: trailers' http://127.0.0.1:7000/test.Echo/Unary
//! ```
//!
//! `frame.bin` is a gRPC message: a zero byte, four bytes of length, the message. The proxy's CPU time
//! is the first number of `/proc/PID/task/*/schedstat`, in nanoseconds, before and after; divide the
//! difference by the calls that succeeded. HAProxy beside it: `mode http`, `bind … proto h2`,
//! `server … proto h2`, `nbthread 1`, on the same core, in the same run. `THREADS:` before the address
//! to listen on (`2:127.0.0.1:7000`) runs that many threads.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use mesh_relay::{
    Cause, Config, Ended, Endpoint, Engine, Failure, Host, Id, Verdict,
    driver::{self, DialFuture, Dialed, Transport},
    hpack::{Block, Token},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};

struct RoundRobin {
    backends: Vec<SocketAddr>,
    next: usize,
    in_flight: Vec<u32>,
    calls: u64,
    seconds: f64,
}

struct Call {
    begun: Instant,
    to: usize,
}

impl RoundRobin {
    fn pick(&mut self) -> usize {
        self.next = (self.next + 1) % self.backends.len();
        self.next
    }
}

fn unavailable(cause: &str) -> Block {
    let mut block = Block::new();
    block.push(b":status", b"200");
    block.push(b"content-type", b"application/grpc");
    block.push(b"grpc-status", b"14");
    block.push(b"grpc-message", cause.as_bytes());
    block
}

impl Host for RoundRobin {
    type Call = Call;

    fn on_request(
        &mut self,
        _call: Id,
        _client: Id,
        request: &Block,
        _end: bool,
    ) -> (Call, Verdict) {
        let to = self.pick();
        self.in_flight[to] += 1;
        let begun = Instant::now();
        let verdict = match request.get(Token::Path) {
            Some(path) if path.value.len() > 1 => Verdict::To(to as Endpoint),
            _ => Verdict::Refuse(unavailable("no such service")),
        };
        (Call { begun, to }, verdict)
    }

    fn on_request_data(&mut self, _call: &mut Call, _bytes: &[u8], _end: bool) -> Verdict {
        Verdict::More
    }

    fn on_send(&mut self, _call: &mut Call, _to: Endpoint, _extra: &mut Block) {}

    fn on_response(&mut self, _call: &mut Call, _response: &Block, extra: &mut Block) {
        extra.push(b"x-relay", b"1");
    }

    fn on_attempt_failed(&mut self, call: &mut Call, failure: Failure) -> Verdict {
        if !failure.unsent {
            return Verdict::Refuse(unavailable("the instance failed"));
        }
        self.in_flight[call.to] -= 1;
        call.to = self.pick();
        self.in_flight[call.to] += 1;
        Verdict::To(call.to as Endpoint)
    }

    fn response_aborted(&mut self, _call: &mut Call, _cause: Cause) -> Block {
        let mut block = Block::new();
        block.push(b"grpc-status", b"14");
        block
    }

    fn on_end(&mut self, call: Call, _ended: Ended) {
        self.in_flight[call.to] -= 1;
        self.calls += 1;
        self.seconds += call.begun.elapsed().as_secs_f64();
    }
}

impl Transport for RoundRobin {
    fn dial(&mut self, to: Endpoint, _preface: &Arc<[u8]>) -> DialFuture {
        let address = self.backends[to as usize];
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Dialed::without_handshake(Box::new(stream)))
        })
    }
}

/// Listens on a port that other threads listen on too. The kernel spreads connections over them.
fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(at)?;
    socket.listen(4096)
}

fn serve(at: SocketAddr, backends: Vec<SocketAddr>) -> std::io::Result<()> {
    let host = RoundRobin {
        in_flight: vec![0; backends.len()],
        backends,
        next: 0,
        calls: 0,
        seconds: 0.0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (_commands, orders) = mpsc::channel(1);
        let engine = Engine::new(Config::default(), host, Instant::now());
        driver::run(Some(listen(at)?), engine, orders).await;
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().ok_or("relay [THREADS:]LISTEN BACKEND…")?;
    let (threads, at) = match listen.split_once(':') {
        Some((threads, at)) if at.contains(':') => (threads.parse()?, at.parse()?),
        _ => (1, listen.parse()?),
    };
    let backends = args.map(|a| a.parse()).collect::<Result<Vec<_>, _>>()?;
    if backends.is_empty() {
        return Err("name at least one backend".into());
    }
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let backends = backends.clone();
            std::thread::spawn(move || serve(at, backends))
        })
        .collect();
    serve(at, backends)?;
    for other in others {
        other.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}
