//! Load of every kind.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mesh_testkit::load;
use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

/// What is called, how often a second.
const KINDS: [(Kind, u64); 5] = [
    (Kind::Unary, 100),
    (Kind::Stream, 20),
    (Kind::Cancelled, 20),
    (Kind::Refused, 20),
    (Kind::Large, 4),
];
/// Calls of one connection before another takes its place.
const CALLS: u64 = 500;
const LARGE: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A small task.
    Unary,
    /// Ten words, one after the other.
    Stream,
    /// A stream that its caller gives up.
    Cancelled,
    /// A task for an agent that does not exist.
    Refused,
    /// A task and an answer of a MiB.
    Large,
}

/// What became of the calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls that have not ended.
    pub(crate) under_way: AtomicU64,
    succeeded: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    /// Too long to be kept for another attempt, and on an instance that was killed.
    lost: AtomicU64,
    /// Those that should not have.
    pub(crate) failed: AtomicU64,
}

impl Tally {
    /// The five columns.
    pub(crate) fn told(&self) -> String {
        let columns = [
            &self.succeeded,
            &self.cancelled,
            &self.refused,
            &self.lost,
            &self.failed,
        ];
        columns
            .map(|count| count.load(Relaxed).to_string())
            .join(" | ")
    }
}

/// The load, while it runs.
pub(crate) struct Mix {
    callers: JoinSet<()>,
    stop: CancellationToken,
}

impl Mix {
    /// Begins.
    pub(crate) fn start(at: SocketAddr, tally: &Arc<Tally>) -> Self {
        let (mut callers, stop) = (JoinSet::new(), CancellationToken::new());
        for (kind, rate) in KINDS {
            let (stop, tally) = (stop.clone(), Arc::clone(tally));
            callers.spawn(caller(kind, rate, at, stop, tally));
        }
        Self { callers, stop }
    }

    /// Begins no more calls, and waits for those under way.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        while self.callers.join_next().await.is_some() {}
    }
}

async fn caller(kind: Kind, rate: u64, at: SocketAddr, stop: CancellationToken, tally: Arc<Tally>) {
    let mut ticks = interval(Duration::from_secs(1) / rate as u32);
    let (mut calls, mut client) = (JoinSet::new(), load::client(at));
    for number in 1.. {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        if number % CALLS == 0 {
            client = load::client(at);
        }
        let (client, tally) = (client.clone(), Arc::clone(&tally));
        calls.spawn(async move {
            tally.under_way.fetch_add(1, Relaxed);
            let outcome = call(kind, client).await;
            tally.under_way.fetch_sub(1, Relaxed);
            let counter = match (kind, &outcome) {
                (Kind::Cancelled, Ok(())) => &tally.cancelled,
                (_, Ok(())) => &tally.succeeded,
                (Kind::Refused, Err(status)) if status.code() == Code::NotFound => &tally.refused,
                (Kind::Large, Err(status)) if status.code() == Code::Unavailable => &tally.lost,
                (_, Err(status)) => {
                    eprintln!("{kind:?}: {status:?}");
                    &tally.failed
                }
            };
            counter.fetch_add(1, Relaxed);
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

async fn call(kind: Kind, client: AgentServiceClient<Channel>) -> Result<(), Status> {
    let mut client = client.max_decoding_message_size(4 * LARGE);
    let task = |input: String| TaskRequest {
        agent_id: "echo-agent".to_owned(),
        input,
        ..TaskRequest::default()
    };
    let whole = |got: usize, wanted: usize| {
        let lacks = || Status::data_loss(format!("{got} of {wanted}"));
        (got >= wanted).then_some(()).ok_or_else(lacks)
    };
    match kind {
        Kind::Unary => client
            .execute_task(task("hello".to_owned()))
            .await
            .map(drop),
        Kind::Refused => {
            let mut nobody = task(String::new());
            nobody.agent_id = "nobody-agent".to_owned();
            client.execute_task(nobody).await.map(drop)
        }
        Kind::Large => {
            let answer = client.execute_task(task("x".repeat(LARGE))).await?;
            whole(answer.into_inner().output.len(), LARGE)
        }
        Kind::Stream => match words(&mut client, task("word ".repeat(10))).await {
            // An answer that has begun cannot be begun again elsewhere: its instance was killed,
            // and its caller does what the mesh may not.
            Err(status) if status.code() == Code::Unavailable => {
                whole(words(&mut client, task("word ".repeat(10))).await?, 11)
            }
            counted => whole(counted?, 11),
        },
        Kind::Cancelled => {
            let stream = words(&mut client, task("word ".repeat(100)));
            timeout(Duration::from_millis(100), stream).await.ok();
            Ok(())
        }
    }
}

/// How many chunks came.
async fn words(
    client: &mut AgentServiceClient<Channel>,
    task: TaskRequest,
) -> Result<usize, Status> {
    let mut stream = client.stream_task(task).await?.into_inner();
    let mut count = 0;
    while stream.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
