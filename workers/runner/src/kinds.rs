//! What each kind of job does.

pub(crate) mod agents;
pub(crate) mod call;
pub(crate) mod http;
pub(crate) mod task;

use jobs::{Context, Failure, Job, Payload};
use work::Work;

use crate::meter::Facts;

/// What the kinds work with.
pub(crate) struct Kinds {
    pub(crate) calls: call::Calls,
    pub(crate) client: fetch::Client,
    pub(crate) tasks: task::Tasks,
}

impl Kinds {
    /// Does one attempt.
    pub(crate) async fn run(
        &self,
        work: &Work,
        job: &Job,
        context: &Context,
        facts: &Facts,
    ) -> Result<Option<Payload>, Failure> {
        let result = match work {
            Work::Call(call) => self.calls.run(call, job, facts).await?,
            Work::Http(request) => http::run(&self.client, request, job, facts).await?,
            Work::Task(task) => self.tasks.run(task, job, context).await?,
            Work::Pipeline(_) => {
                return Err(Failure::lasting(
                    "this runner has no pipeline, use one that has",
                ));
            }
        };
        Ok(Some(Payload::json(&result)))
    }
}
