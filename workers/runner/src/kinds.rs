//! What each kind of job does.

pub(crate) mod agents;
pub(crate) mod call;
pub(crate) mod http;
mod pipeline;
pub(crate) mod task;

use channel::Mesh;
use jobs::{Failure, Job, JobContext, Payload};
use work::JobPayload;

use crate::meter::AttemptFacts;

/// What the kinds work with.
pub(crate) struct Kinds {
    pub(crate) calls: call::Calls,
    pub(crate) client: fetch::HttpClient,
    pub(crate) mesh: Mesh,
    pub(crate) tasks: task::Tasks,
}

impl Kinds {
    /// Does one attempt.
    pub(crate) async fn run(
        &self,
        work: &JobPayload,
        job: &Job,
        context: &JobContext,
        facts: &AttemptFacts,
    ) -> Result<Option<Payload>, Failure> {
        let left = context.time_left(job);
        let result = match work {
            JobPayload::Call(call) => {
                let work = Box::pin(self.calls.run(call, job, left, facts));
                self.tasks.unless_cancelled(job, work).await?
            }
            JobPayload::Http(request) => http::run(&self.client, request, job, left, facts).await?,
            JobPayload::Task(task) => self.tasks.run(task, job, context).await?,
            JobPayload::Pipeline(order) => {
                pipeline::run(&self.mesh, order, left, context, facts).await?
            }
        };
        Ok(Some(Payload::json(&result)))
    }
}
