//! The echo agent: repeats its task, which shows whether a call arrived, and at which instance.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use agentkit::{About, Agent, OutputStream, Task, TaskError, TaskOutcome};
use config::{duration, keys};
use service::{Context, Services, Spec};
use tokio::time::sleep;

/// The names, tags, port and keys of the echo agent.
pub const SPEC: Spec = Spec {
    program: "echo-agent",
    service: "agent-echo",
    tags: &["agent", "echo", "text-processing"],
    default_port: 50052,
    about: "The echo agent: repeats what it is told",
    idempotent: &["*"],
    keys: &[service::GRPC, &[EchoKeys::GROUP]],
    ..agentkit::AGENT
};

keys! {
    /// The echo agent.
    #[derive(Clone, Debug)]
    pub(crate) struct EchoKeys: "Echo agent" {
        /// Simulated work of each task, and of each streamed word.
        delay: Duration = duration("0s").zero("no delay").env("ECHO_DELAY"),
    }
}

const ABOUT: About = About {
    name: "Echo Agent",
    description: "Repeats the text it is given, with the parameters of the task",
    details: "Answers every task with its own input, so that a caller sees what arrived: the text, \
        the parameters, the session. Each answer names the instance that gave it and counts that \
        instance's tasks, which shows how calls are balanced.",
    how_it_works: "ExecuteTask answers once. StreamTask sends the input back a word at a time and \
        ends with the chunk [COMPLETE]. Nothing is kept between calls.",
    return_format: "output: `Echo Agent Response: <input>`, followed by \
        ` | Parameters: k=v, k=v` sorted by key when there are any; metadata: agent_id, \
        processed_at (Unix seconds), task_number, and session_id when given",
    use_cases: &[
        "Check that a call reaches an agent through HAProxy and a router",
        "See how calls and sessions are spread over instances",
        "Measure what the mesh itself costs",
    ],
    ..About::EMPTY
};

#[derive(Debug)]
struct Echo {
    delay: Duration,
    tasks: AtomicU64,
}

/// Builds the service of one instance.
///
/// # Errors
/// None at present.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let echo = Echo {
        delay: EchoKeys::from_config(&context.config).delay,
        tasks: AtomicU64::new(0),
    };
    Ok(agentkit::serve_agent(context, ABOUT, echo))
}

#[async_trait::async_trait]
impl Agent for Echo {
    async fn run(&self, task: &Task, stream: &OutputStream) -> Result<TaskOutcome, TaskError> {
        let number = self.tasks.fetch_add(1, Relaxed) + 1;
        let mut output = String::new();
        if stream.has_reader() {
            for word in task.goal.split_whitespace() {
                sleep(self.delay).await;
                stream.send(word).await;
                output.push_str(word);
            }
        } else {
            output = answer(task);
        }
        sleep(self.delay).await;
        Ok(TaskOutcome {
            output,
            metadata: [("task_number", number.to_string())].into(),
        })
    }
}

/// The answer to a whole task; parameters are sorted by name.
fn answer(task: &Task) -> String {
    let pairs = task.parameters.iter();
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    let input = &task.goal;
    match pairs.is_empty() {
        true => format!("Echo Agent Response: {input}"),
        false => format!(
            "Echo Agent Response: {input} | Parameters: {}",
            pairs.join(", ")
        ),
    }
}
