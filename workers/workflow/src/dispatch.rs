//! Which job a node is.

mod asks;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backoff::Backoff;
use discovery::{Discovery, first_answer};
use jobs::NewJob;
use serde_json::Value;
use work::{AgentSelector, Call, Http, JobKind};
use workflow::JobRequest;

use self::asks::{Ask, EXECUTE_TASK, ask, json_header, named};

/// How long the registry may take to say which services there are.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(1);

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Dispatch {
    /// It is this job.
    Job(Box<NewJob>),
    /// Nobody serves it.
    Unserved(String),
    /// It is no job.
    Wrong(String),
}

/// What the jobs of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct RunFacts {
    /// Whose run it is.
    pub(crate) owner: String,
    /// The tag of its shard's completions.
    pub(crate) completion: String,
    /// The trace that its jobs are part of.
    pub(crate) trace: BTreeMap<String, String>,
}

/// Makes jobs of requests.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) agents: AgentSelector,
    pub(crate) queue: work::QueueKeys,
    pub(crate) discovery: Arc<dyn Discovery>,
}

impl Dispatcher {
    /// The jobs of requests, in their order.
    pub(crate) async fn dispatch(&self, requests: &[(Arc<JobRequest>, RunFacts)]) -> Vec<Dispatch> {
        let asks: Vec<_> = requests.iter().map(|(request, _)| ask(request)).collect();
        let tasks = asks.iter().filter_map(|ask| match ask {
            Ok(Ask::AnyAgent(message)) => Some(message["input"].as_str().unwrap_or_default()),
            _ => None,
        });
        let tasks: Vec<&str> = tasks.collect();
        let mut best = match tasks.is_empty() {
            true => Vec::new(),
            false => self.agents.best(tasks.into_iter()).await,
        }
        .into_iter();
        let is_named = |ask: &Result<Ask, String>| matches!(ask, Ok(Ask::Named(..)));
        let catalog = match asks.iter().any(is_named) {
            true => first_answer(&mut self.discovery.catalog(), CATALOG_TIMEOUT).await,
            false => None,
        };
        let parts = asks.into_iter().zip(requests);
        parts
            .map(|(ask, (request, facts))| {
                let ask = match ask {
                    Ok(Ask::AnyAgent(mut message)) => {
                        let agent = best.next().unwrap_or_default();
                        message.insert("agent_id".to_owned(), agent.clone().into());
                        Ask::Call(Call::json(&agent, EXECUTE_TASK, message))
                    }
                    Ok(Ask::Named(name, parameters)) => {
                        match named(catalog.as_deref(), &name, request, &parameters) {
                            Some(call) => Ask::Call(call),
                            None => return Dispatch::Unserved(name),
                        }
                    }
                    Ok(ask) => ask,
                    Err(reason) => return Dispatch::Wrong(reason),
                };
                match self.job(ask, request, facts) {
                    Ok(job) => Dispatch::Job(Box::new(job)),
                    Err(reason) => Dispatch::Wrong(reason),
                }
            })
            .collect()
    }

    fn job(&self, ask: Ask, request: &JobRequest, facts: &RunFacts) -> Result<NewJob, String> {
        let checked = match ask {
            Ask::Call(call) => call.checked_job(),
            Ask::Http(http) => http.checked_job(),
            Ask::Pipeline(pipeline) => pipeline.checked_job(),
            Ask::AnyAgent(_) | Ask::Named(..) => return Err("no agent is chosen".to_owned()),
        };
        let job = checked.map_err(|error| error.to_string())?;
        Ok(NewJob {
            queue: self.queue.queue(request.queue.as_deref()),
            priority: request.priority.clamp(1, 5),
            delay: Duration::from_millis(request.delay_ms),
            timeout: Duration::from_millis(request.timeout_ms.max(1)),
            // The workflow counts attempts, not the queue.
            max_attempts: 1,
            deadline: request.deadline,
            seed: Some(request.key.clone()),
            completion: Some(facts.completion.clone()),
            caller: Some(facts.owner.clone()).filter(|owner| !owner.is_empty()),
            trace: facts.trace.clone(),
            ..job
        })
    }

    /// The job that tells a server of an approval, which may fail a few times.
    pub(crate) fn notification(
        &self,
        url: &str,
        key: &str,
        body: &Value,
    ) -> Result<NewJob, String> {
        let request = Http {
            url: url.to_owned(),
            method: "POST".to_owned(),
            headers: json_header(),
            body: Some(body.to_string()),
            timeout: 10.0,
            any_status: false,
        };
        let job = request.checked_job().map_err(|error| error.to_string())?;
        Ok(NewJob {
            queue: self.queue.queue(None),
            seed: Some(key.to_owned()),
            max_attempts: 10,
            backoff: Some(Backoff::new(
                Duration::from_secs(1),
                Duration::from_secs(300),
                0.2,
            )),
            ..job
        })
    }
}
