//! A task as it changes, for who wants to be told and not to ask.

use std::time::Duration;

use jobs::{Error, JobRecord};
use tokio::time::{Instant, sleep, sleep_until};

use super::{LOOK, OUTAGE, TaskView, Tasks, id::TaskId};

/// How long after one change the next one is looked for at the earliest.
const PAUSE: Duration = Duration::from_millis(250);
/// Pause before the queue is asked again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Follows one task of a caller.
#[derive(Debug)]
pub struct TaskFollower {
    tasks: Tasks,
    id: String,
    caller: Option<String>,
    job: Option<TaskId>,
    cursor: String,
    told: Option<(&'static str, Option<String>)>,
    next: Instant,
}

impl Tasks {
    /// Follows a task of a caller.
    #[must_use]
    pub fn follower(&self, id: &str, caller: Option<&str>) -> TaskFollower {
        TaskFollower {
            tasks: self.clone(),
            id: id.to_owned(),
            caller: caller.map(str::to_owned),
            job: None,
            cursor: String::new(),
            told: None,
            next: Instant::now(),
        }
    }
}

impl TaskFollower {
    /// How the task is at first, and after that each change. `None` after its end, and when it cannot
    /// be followed any more.
    pub async fn next(&mut self) -> Option<TaskView> {
        let is_over = |(status, _): &(&str, Option<String>)| *status != "working";
        if self.told.as_ref().is_some_and(is_over) {
            return None;
        }
        let mut lost: Option<Instant> = None;
        // Of what happens meanwhile the latest is told.
        sleep_until(self.next).await;
        loop {
            match self.look().await {
                Ok((id, record)) => {
                    lost = None;
                    let view = self.tasks.view(&id, &record);
                    let now = (view.status, view.status_message.clone());
                    if self.told.as_ref() != Some(&now) {
                        self.next = Instant::now() + PAUSE;
                        self.told = Some(now);
                        return Some(view);
                    }
                }
                Err(Error::Unavailable { .. }) => {
                    let since = *lost.get_or_insert_with(Instant::now);
                    if since.elapsed() > OUTAGE {
                        return None;
                    }
                    sleep(RETRY).await;
                }
                Err(_) => return None,
            }
        }
    }

    /// The job, once something has happened to it since the last look.
    async fn look(&mut self) -> Result<(TaskId, JobRecord), Error> {
        let Some(id) = &self.job else {
            let found = self.tasks.find(&self.id, self.caller.as_deref()).await;
            let gone = |error: crate::CallError| match error.code {
                crate::rpc::code::INVALID_PARAMS => Error::NotFound {
                    id: self.id.clone(),
                },
                _ => Error::Unavailable {
                    store: "of tasks".to_owned(),
                    reason: error.message,
                },
            };
            let (id, record) = found.map_err(gone)?;
            self.job = Some(id.clone());
            return Ok((id, record));
        };
        let page = self.tasks.jobs.job_events(&id.job, &self.cursor, 64, LOOK);
        let page = page.await?;
        self.cursor = page.cursor;
        Ok((id.clone(), self.tasks.jobs.get(&id.job).await?))
    }
}
