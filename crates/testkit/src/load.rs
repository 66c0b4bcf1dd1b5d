//! A client that sends so many calls a second whatever becomes of them, and counts those that
//! succeeded.

use std::{net::SocketAddr, time::Duration};

use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::wait;

/// Connections that the calls take in turn.
const CONNECTIONS: usize = 4;

/// How long a router may take to know an instance, on a busy machine.
const KNOWN: Duration = Duration::from_secs(10);

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    calls: JoinSet<Vec<Call>>,
    ended: watch::Receiver<usize>,
}

/// One call to the echo agent.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was complete.
    pub ended: Instant,
    /// The instance that answered, or what went wrong.
    pub outcome: Result<String, Status>,
}

impl Load {
    /// Sends `count` tasks to `echo-agent`, `rate` of them each second. They have no deadline.
    #[must_use]
    pub fn start(address: SocketAddr, rate: u32, count: usize) -> Self {
        Self::for_agent("echo-agent", address, rate, count)
    }

    /// The same for an agent of another name.
    #[must_use]
    pub fn for_agent(agent: &'static str, address: SocketAddr, rate: u32, count: usize) -> Self {
        let mut calls = JoinSet::new();
        let (counter, ended) = watch::channel(0);
        calls.spawn(send(agent, address, rate, count, counter));
        Self { calls, ended }
    }

    /// Waits until so many more calls have ended.
    pub async fn wait_ended(&mut self, more: usize) {
        let count = *self.ended.borrow() + more;
        let enough = self.ended.wait_for(|ended| *ended >= count).await;
        enough.expect("so many calls are sent");
    }

    /// Waits until every call has ended.
    pub async fn finish(mut self) -> Vec<Call> {
        let calls = self.calls.join_next().await.expect("there is one sender");
        calls.expect("the sender does not panic")
    }
}

/// Makes one call to `echo-agent`, and gives the instance that answered.
///
/// # Errors
/// The status of a call that failed; one of our own when the answer is not that of the call.
pub async fn call(
    client: &mut AgentServiceClient<Channel>,
    number: usize,
) -> Result<String, Status> {
    call_agent("echo-agent", client, number).await
}

pub(crate) async fn call_agent(
    agent: &str,
    client: &mut AgentServiceClient<Channel>,
    number: usize,
) -> Result<String, Status> {
    let task_id = number.to_string();
    let request = TaskRequest {
        task_id: task_id.clone(),
        agent_id: agent.to_owned(),
        input: "hello".to_owned(),
        ..TaskRequest::default()
    };
    let answer = client.execute_task(request).await?;
    if answer.get_ref().task_id != task_id || !answer.get_ref().success {
        return Err(Status::data_loss(format!(
            "task {task_id} got {:?}",
            answer.get_ref()
        )));
    }
    let instance = answer.metadata().get("x-mesh-instance");
    let instance = instance.and_then(|id| id.to_str().ok()).map(str::to_owned);
    instance.ok_or_else(|| Status::data_loss("no x-mesh-instance"))
}

/// A client on a connection of its own, which opens with its first call.
#[must_use]
pub fn client(address: SocketAddr) -> AgentServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    AgentServiceClient::new(endpoint.connect_lazy())
}

/// Waits until a router has a call to `echo-agent` answered.
pub async fn wait_answered(router: SocketAddr) {
    let mut client = client(router);
    let by = wait::until("a call is answered", KNOWN, async || {
        call(&mut client, 1).await.ok()
    });
    assert!(by.await.starts_with("echo-agent-"));
}

async fn send(
    agent: &'static str,
    address: SocketAddr,
    rate: u32,
    count: usize,
    counter: watch::Sender<usize>,
) -> Vec<Call> {
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| client(address)).collect();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // A late sender catches up: the rate is what was asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        let mut client = clients[number % CONNECTIONS].clone();
        let counter = counter.clone();
        running.spawn(async move {
            let sent = Instant::now();
            let outcome = call_agent(agent, &mut client, number).await;
            counter.send_modify(|ended| *ended += 1);
            Call {
                sent,
                ended: Instant::now(),
                outcome,
            }
        });
    }
    running.join_all().await
}
