//! Many streams that are open at the same time, through one router.

use std::time::Duration;

use proto::agentplatform::{TaskChunk, TaskRequest};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tonic::{Status, Streaming};

use crate::{Consul, Program, load, wait};

/// Connections that the streams share.
const CONNECTIONS: usize = 10;
/// Streams that are being opened at the same time.
const OPENING: usize = 64;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct StreamsReport {
    /// Streams whose answers had begun, and none of which had ended, at one moment.
    pub alive: usize,
    /// How long it took to open them.
    pub opened_in: Duration,
    /// Streams that ended well, with all of their chunks.
    pub finished: usize,
    /// The router's memory before, with all open, and after, bytes.
    pub memory: [u64; 3],
}

impl StreamsReport {
    /// What an open stream takes in the router, bytes.
    #[must_use]
    pub fn memory_each(&self) -> u64 {
        self.memory[1].saturating_sub(self.memory[0]) / self.alive.max(1) as u64
    }
}

/// Opens so many streams to `instances` echo agents, each of which says a word only after
/// `pause` and ends after twice that time; waits until all are open, and then until all have ended.
pub async fn open(count: usize, instances: usize, pause: Duration) -> StreamsReport {
    let consul = Consul::start().await;
    let delay = ("ECHO_DELAY", format!("{}ms", pause.as_millis()));
    let env = [consul.env(), vec![delay]].concat();
    let mut echoes = Program::several("echo-agent", instances, &env).await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    consul.wait_passing("agent-echo", instances).await;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| load::client(router.grpc))
        .collect();
    let mut first = clients[0].clone();
    wait::until("the router knows the agents", pause, async || {
        first.stream_task(request(0)).await.ok()
    })
    .await;

    let before = router.process.memory();
    let begun = Instant::now();
    let (started, mut starting) = watch::channel(0);
    let mut streams = JoinSet::new();
    for number in 0..count {
        let mut client = clients[number % CONNECTIONS].clone();
        let started = started.clone();
        let opening = starting.wait_for(|started| *started + OPENING > number);
        opening.await.expect("it is ours");
        streams.spawn(async move {
            let stream = client.stream_task(request(number)).await;
            started.send_modify(|started| *started += 1);
            finish(stream?.into_inner(), number).await
        });
    }
    let all = starting.wait_for(|started| *started == count);
    all.await.expect("it is ours");
    let opened_in = begun.elapsed();
    let mut ended = 0;
    while streams.try_join_next().is_some() {
        ended += 1;
    }
    let with_all = router.process.memory();
    let alive = count - ended;
    let mut finished = 0;
    while let Some(stream) = streams.join_next().await {
        match stream.expect("it does not panic") {
            Ok(()) => finished += 1,
            Err(status) => eprintln!("a stream failed: {status:?}"),
        }
    }
    let after = router.process.memory();
    router.assert_healthy();
    echoes.iter_mut().for_each(Program::assert_healthy);
    StreamsReport {
        alive,
        opened_in,
        finished,
        memory: [before, with_all, after],
    }
}

fn request(number: usize) -> TaskRequest {
    TaskRequest {
        task_id: number.to_string(),
        agent_id: "echo-agent".to_owned(),
        input: "word".to_owned(),
        ..TaskRequest::default()
    }
}

async fn finish(mut stream: Streaming<TaskChunk>, number: usize) -> Result<(), Status> {
    for content in ["word", "[COMPLETE]"] {
        let chunk = stream.message().await?;
        let right = chunk
            .is_some_and(|chunk| chunk.content == content && chunk.task_id == number.to_string());
        if !right {
            return Err(Status::data_loss(format!(
                "stream {number} lacks {content}"
            )));
        }
    }
    match stream.message().await? {
        None => Ok(()),
        Some(_) => Err(Status::data_loss(format!("stream {number} goes on"))),
    }
}
