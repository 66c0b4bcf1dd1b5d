//! An agent, a worker and a tool that do what the goal or the operation says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mesh_agentkit::{
    About, Agent, Invocation, InvocationError, Operation, OutputStream, Parameter, Task, TaskError,
    TaskHandle, TaskOutcome, Tool, Worker,
};
use service::Spec;
use testkit::until;
use tonic::{Code, Status};

pub(crate) const AGENT: Spec = Spec {
    program: "probe-agent",
    service: "agent-probe",
    tags: &["agent", "probe"],
    ..mesh_agentkit::AGENT
};

pub(crate) const WORKER: Spec = Spec {
    program: "probe-worker",
    service: "worker-probe",
    tags: &["worker", "probe"],
    ..mesh_agentkit::WORKER
};

pub(crate) const TOOL: Spec = Spec {
    program: "probe-tool",
    service: "tool-probe",
    tags: &["tool", "probe"],
    ..mesh_agentkit::TOOL
};

pub(crate) const ABOUT: About = About {
    name: "Probe",
    description: "Does what it is told",
    operations: &[
        Operation::new("say", "repeats `text`"),
        Operation::new("hang", "never answers"),
    ],
    parameters: &[
        Parameter::required("text", "string", "what to repeat"),
        Parameter::optional("times", "integer", "how often"),
    ],
    ..About::EMPTY
};

/// Counts calls that have begun and calls that were dropped before their end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) dropped: Arc<AtomicUsize>,
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Probe {
    /// Never answers.
    async fn hang(&self) {
        let _guard = Guard(Arc::clone(&self.dropped));
        self.begun.fetch_add(1, SeqCst);
        std::future::pending().await
    }

    /// Waits until `count` hanging calls have begun.
    pub(crate) async fn has_begun(&self, count: usize) {
        wait(&self.begun, count, "calls that have begun").await;
    }

    /// Waits until `count` hanging calls were dropped.
    pub(crate) async fn has_dropped(&self, count: usize) {
        wait(&self.dropped, count, "calls that were dropped").await;
    }
}

async fn wait(counter: &AtomicUsize, count: usize, what: &str) {
    until(what, Duration::from_secs(10), async || {
        (counter.load(SeqCst) == count).then_some(())
    })
    .await;
}

#[async_trait::async_trait]
impl Agent for Probe {
    async fn run(&self, task: &Task, stream: &OutputStream) -> Result<TaskOutcome, TaskError> {
        match task.require_goal("what to do")? {
            "hang" => {
                stream.send("begun ").await;
                self.hang().await;
            }
            "stream" => {
                for piece in ["one ", "two ", "three "] {
                    stream.send(piece).await;
                }
                return Ok(TaskOutcome::text("one two three four"));
            }
            "contradict" => {
                stream.send("one ").await;
                return Ok(TaskOutcome::text("two"));
            }
            "break" => {
                stream.send("one ").await;
                return Err(TaskError::Unavailable("the source is away".to_owned()));
            }
            "no model" => {
                return Err(TaskError::ModelUnavailable {
                    message: "model: busy".to_owned(),
                    retry_after: Some(Duration::from_secs(7)),
                });
            }
            _ => {}
        }
        Ok(TaskOutcome {
            output: format!("{} for {}", task.goal.trim(), task.session),
            metadata: BTreeMap::from([("mode", "probe".to_owned()), ("empty", String::new())]),
        })
    }
}

#[async_trait::async_trait]
impl Worker for Probe {
    async fn run(&self, task: &Task, handle: &TaskHandle) -> Result<TaskOutcome, TaskError> {
        handle.advance(40);
        if task.require_goal("what to do")? == "hang" {
            self.hang().await;
        }
        Agent::run(self, task, &OutputStream::discard()).await
    }
}

#[async_trait::async_trait]
impl Tool for Probe {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        match call.operation.as_str() {
            "say" => {
                let times = call.parameters.integer("times", 1..=100_000, 1)?;
                let text = call.parameters.required("text", "what to repeat")?;
                Ok(format!("{}{}", text.repeat(times), call.session))
            }
            "parameters" => {
                let pairs = call.parameters.iter();
                let pairs: Vec<_> = pairs
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                Ok(pairs.join(" "))
            }
            "hang" => {
                self.hang().await;
                Ok(String::new())
            }
            "off" => Err(Status::permission_denied("set probe=on").into()),
            "broken" => Err(Status::internal("the disk is full").into()),
            _ => Err(call.unknown_operation(&ABOUT)),
        }
    }
}

/// The reason in a status' details.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    let info = proto::error_info::read(status).unwrap();
    (status.code(), info.reason)
}
