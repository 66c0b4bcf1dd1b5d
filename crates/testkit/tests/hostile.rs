//! Clients that mean harm, against the real router, beside one that means none: all of its calls
//! succeed, none is held up, and the router's memory comes back.

mod wire;

use std::{net::SocketAddr, time::Duration};

use mesh_testkit::{Load, Program, RouterMesh, until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use wire::{Frames, Kind};

/// How long each attack lasts.
const ATTACK: Duration = Duration::from_secs(3);
/// Attackers at the same time, each with a connection of its own.
const ATTACKERS: usize = 4;
/// The calls of the one that means none.
const RATE: u32 = 100;
/// No call of it takes longer, on a busy machine: far less than an attack.
const SANE: Duration = Duration::from_millis(1500);
/// More than a busy router keeps for its connections.
const GROWTH: u64 = 64 << 20;

#[derive(Clone, Copy, Debug)]
enum Attack {
    /// SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA without end.
    Flood(Kind),
    /// Calls that are reset as soon as they are sent.
    RapidReset,
    /// A header block without end.
    Continuation,
    /// Calls whose metadata the router takes and the instance does not.
    RefusedHeaders,
    /// Answers that nobody reads, with windows of nothing or as large as can be.
    DeafReader { window: u32 },
    /// Many connections that send a byte now and then.
    SlowLoris,
    /// Bytes that are no HTTP/2.
    Noise,
}

const ATTACKS: [Attack; 12] = [
    Attack::Flood(Kind::Settings),
    Attack::Flood(Kind::Ping),
    Attack::Flood(Kind::Priority),
    Attack::Flood(Kind::WindowUpdate),
    Attack::Flood(Kind::Data),
    Attack::RapidReset,
    Attack::Continuation,
    Attack::RefusedHeaders,
    Attack::DeafReader { window: 0 },
    Attack::DeafReader {
        window: 0x7fff_ffff,
    },
    Attack::SlowLoris,
    Attack::Noise,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_harm_no_other_clients_calls() {
    // They take less metadata than the router, so that some calls are theirs to refuse.
    let small = [("MAX_HEADER_BYTES", "16KiB".to_owned())];
    let RouterMesh {
        mut router,
        mut echoes,
        consul: _consul,
    } = RouterMesh::start(2, &small, &[]).await;
    // What a busy router keeps is not counted as growth.
    Load::start(router.grpc, RATE, 100).finish().await;
    let before = router.process.memory();
    let files = router.process.files();

    let mut told = Vec::new();
    for attack in ATTACKS {
        let count = usize::try_from(RATE).expect("it is small") * 4;
        let load = Load::start(router.grpc, RATE, count);
        let until = Instant::now() + ATTACK;
        let mut attackers = JoinSet::new();
        for _ in 0..ATTACKERS {
            attackers.spawn(attack.run(router.grpc, until));
        }
        let sent: usize = attackers.join_all().await.into_iter().sum();
        let calls = load.finish().await;
        let failed: Vec<_> = calls.iter().filter(|call| call.outcome.is_err()).collect();
        assert!(
            failed.is_empty(),
            "{attack:?}: {} calls failed: {:?}",
            failed.len(),
            failed[0]
        );
        let mut times: Vec<_> = calls.iter().map(|call| call.ended - call.sent).collect();
        times.sort();
        let p99 = times[times.len() * 99 / 100];
        told.push(format!(
            "{attack:?}: {sent} bytes, p99 {p99:?}, {} KiB",
            router.process.memory() / 1024
        ));
        assert!(p99 < SANE, "{}", told.join("\n"));
        router.assert_healthy();
    }
    eprintln!("before: {} KiB\n{}", before / 1024, told.join("\n"));
    echoes.iter_mut().for_each(Program::assert_healthy);
    until(
        "the attackers' connections are closed",
        Duration::from_secs(20),
        async || (router.process.files() <= files + 10).then_some(()),
    )
    .await;
    router.wait_relay_idle(Duration::from_secs(5)).await;
    let grown = router.process.memory().saturating_sub(before);
    assert!(
        grown < GROWTH,
        "the router grew by {grown} bytes:\n{}",
        told.join("\n")
    );
}

#[tokio::test]
async fn a_call_may_be_split_anywhere() {
    let RouterMesh {
        mut router,
        echoes: _echoes,
        consul: _consul,
    } = RouterMesh::start(1, &[], &[]).await;
    let mut call = Frames::preface();
    call.settings(&[]);
    call.call(1, &[], "echo-agent");
    // A byte at a time, then in larger and larger pieces.
    for piece in [1, 2, 3, 7, 9, 10, 50] {
        let mut socket = TcpStream::connect(router.grpc).await.unwrap();
        socket.set_nodelay(true).unwrap();
        for bytes in call.bytes().chunks(piece) {
            socket.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut heard = Vec::new();
        let answered = async {
            while !wire::has_trailers(&heard, 1) {
                assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "it goes on");
            }
        };
        timeout(Duration::from_secs(5), answered)
            .await
            .expect("it is answered");
    }
    router.assert_healthy();
}

impl Attack {
    /// Goes on until then, on new connections where one is ended; gives how many bytes were sent.
    async fn run(self, at: SocketAddr, until: Instant) -> usize {
        let mut sent = 0;
        let mut held = Vec::new();
        while Instant::now() < until {
            let Ok(mut socket) = TcpStream::connect(at).await else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let attack = timeout(until - Instant::now(), self.once(&mut socket, &mut sent));
            if attack.await.is_err() || matches!(self, Self::SlowLoris | Self::DeafReader { .. }) {
                held.push(socket);
            }
            sleep(self.pause()).await;
        }
        sent
    }

    /// Until the next connection.
    const fn pause(self) -> Duration {
        match self {
            Self::RapidReset => Duration::from_secs(2),
            _ => Duration::from_millis(5),
        }
    }

    /// What is done on one connection, until it fails or for ever.
    async fn once(self, socket: &mut TcpStream, sent: &mut usize) {
        if let Self::Noise = self {
            let noise: Vec<u8> = (0..10_000u32).map(|n| ((n * n) >> 3) as u8).collect();
            return send(socket, &noise, sent).await.unwrap_or_default();
        }
        let mut frames = Frames::preface();
        let window = match self {
            Self::DeafReader { window } => window,
            _ => 65_535,
        };
        frames.settings(&[(4, window)]);
        if let Self::Flood(Kind::Data) = self {
            frames.open_call(1);
        }
        if let Self::SlowLoris = self {
            for byte in frames.bytes() {
                if send(socket, &[*byte], sent).await.is_none() {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
            return;
        }
        if send(socket, frames.bytes(), sent).await.is_none() {
            return;
        }
        let mut stream = 1;
        loop {
            let mut frames = Frames::default();
            for _ in 0..100 {
                match self {
                    Self::Flood(kind) => frames.idle(kind),
                    Self::RapidReset => {
                        frames.call(stream, &[], "echo-agent");
                        frames.reset(stream);
                    }
                    Self::Continuation if stream == 1 => frames.open_headers(stream),
                    Self::Continuation => frames.continuation(1),
                    Self::RefusedHeaders => {
                        // Each value under HPACK's one-byte length, 30 KiB together.
                        let value = "v".repeat(100);
                        let large = vec![("x-large", &*value); 300];
                        frames.call(stream, &large, "echo-agent");
                    }
                    Self::DeafReader { .. } => frames.large_call(stream, "echo-agent"),
                    Self::SlowLoris | Self::Noise => {}
                }
                stream += 2;
                if stream > 50 && matches!(self, Self::RefusedHeaders | Self::DeafReader { .. }) {
                    break;
                }
            }
            if send(socket, frames.bytes(), sent).await.is_none() {
                return;
            }
            if stream > 50 && matches!(self, Self::RefusedHeaders | Self::DeafReader { .. }) {
                // The one hears what it gets, the other never does.
                if let Self::RefusedHeaders = self {
                    let mut heard = vec![0; 1 << 16];
                    timeout(Duration::from_millis(200), socket.read(&mut heard))
                        .await
                        .ok();
                } else {
                    sleep(ATTACK).await;
                }
                return;
            }
        }
    }
}

/// `None` when the connection is gone.
async fn send(socket: &mut TcpStream, bytes: &[u8], sent: &mut usize) -> Option<()> {
    socket.write_all(bytes).await.ok()?;
    *sent += bytes.len();
    // A flood that is answered would otherwise end when its sender does not read.
    let mut heard = [0; 4096];
    while socket.try_read(&mut heard).is_ok_and(|count| count > 0) {}
    Some(())
}
