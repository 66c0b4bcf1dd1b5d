//! An agent that does what its task says, and counts what it was asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentkit::{About, Agent, OutputStream, Task, TaskError, TaskOutcome};
use parking_lot::Mutex;
use service::{Context, Services, Spec};

pub(crate) const SPEC: Spec = Spec {
    program: "helper-agent",
    service: "agent-helper",
    tags: &["agent"],
    about: "Does what its task says",
    ..agentkit::AGENT
};

/// How often each task was asked for, by its key.
pub(crate) type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// How many tasks run now, and ran at once at most.
pub(crate) type AtOnce = Arc<Mutex<(usize, usize)>>;

#[derive(Debug)]
struct Helper(Asked, AtOnce);

/// A task that runs.
struct Running<'a>(&'a AtOnce);

impl<'a> Running<'a> {
    fn begin(at_once: &'a AtOnce) -> Self {
        let mut counts = at_once.lock();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Self(at_once)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().0 -= 1;
    }
}

/// `fail`: fails. `slow MS TEXT`: takes so long. `patch JSON TEXT`: answers with a patch. Else its task.
#[async_trait::async_trait]
impl Agent for Helper {
    async fn run(&self, task: &Task, _: &OutputStream) -> Result<TaskOutcome, TaskError> {
        let _running = Running::begin(&self.1);
        *self.0.lock().entry(task.id.clone()).or_default() += 1;
        let mut words = task.goal.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        match word() {
            "fail" => Err(TaskError::Invalid("it was told to".to_owned())),
            "slow" => {
                let ms = word().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(TaskOutcome::text(word()))
            }
            "patch" => Ok(TaskOutcome {
                output: "patched".to_owned(),
                metadata: BTreeMap::from([("workflow_patch", word().to_owned() + " " + word())]),
            }),
            _ => Ok(TaskOutcome::text(task.goal.clone())),
        }
    }
}

pub(crate) fn build(
    asked: Asked,
    at_once: AtOnce,
) -> impl FnOnce(&Context) -> anyhow::Result<Services> {
    const ABOUT: About = About {
        name: "Helper",
        description: "Does what its task says",
        ..About::EMPTY
    };
    move |context| {
        Ok(agentkit::serve_agent(
            context,
            ABOUT,
            Helper(asked, at_once),
        ))
    }
}
