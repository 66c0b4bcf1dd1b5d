//! The tasks of a session, at a server of whichever era.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use tokio::time::sleep;

use super::{Session, questions::InputRequired};
use crate::{
    handshake,
    link::{Era, Outgoing},
    message::{Fields, Outcome, Raw, code, error, raw, text, to_raw},
    replies::{gone_error, unknown},
    tasks::{self, Progress},
};

/// Tasks of one session that are remembered for their notifications.
const MAX_TASKS: usize = 1000;

impl Session {
    /// Carries out a request about a task.
    pub(super) async fn task(self: &Arc<Self>, id: &Raw, method: &str, params: Fields) -> Outcome {
        let link = self.side.upstream.link().await;
        let link = link.map_err(|gone| gone_error(&gone))?;
        if link.facts().era == Era::Legacy {
            let task = text(params.get("taskId")).unwrap_or_default();
            // The session with the server is shared: a task is of the client that has begun it.
            if method != "tasks/list" && !self.tasks.lock().contains(&task) {
                return Err(error(code::INVALID_PARAMS, "there is no such task"));
            }
            let outcome = self.forward(id, method, params).await;
            return match method {
                "tasks/list" => outcome.map(|result| self.own_tasks(&result)),
                _ => outcome,
            };
        }
        let Some(task) = text(params.get("taskId")) else {
            return Err(unknown(method));
        };
        // A server of this mount alone does not know its clients apart.
        if link.facts().is_own && !self.tasks.lock().contains(&task) {
            return Err(error(code::INVALID_PARAMS, "there is no such task"));
        }
        let capabilities = self.capabilities.modern(true);
        let meta = handshake::modern_meta(&link.facts().version, &self.info, &capabilities);
        match method {
            "tasks/get" => Ok(tasks::seen(
                &self.of_task(&meta, "tasks/get", &task, None).await?,
            )),
            "tasks/cancel" => {
                self.of_task(&meta, "tasks/cancel", &task, None).await?;
                Ok(tasks::seen(
                    &self.of_task(&meta, "tasks/get", &task, None).await?,
                ))
            }
            "tasks/result" => self.await_task(id, &meta, &task).await,
            _ => Err(unknown(method)),
        }
    }

    /// Asks a server of 2026-07-28 about a task.
    async fn of_task(
        &self,
        meta: &Fields,
        method: &str,
        task: &str,
        answers: Option<Raw>,
    ) -> Outcome {
        let mut params = tasks::modern_params(meta, task);
        if let Some(answers) = answers {
            params.insert("inputResponses".to_owned(), answers);
        }
        let request = Outgoing::own(method, params);
        self.mount.outcome_over(&self.side.upstream, request).await
    }

    /// Waits for a task of a server of 2026-07-28, and asks the client what the task asks.
    async fn await_task(&self, id: &Raw, meta: &Fields, task: &str) -> Outcome {
        let mut answered = BTreeSet::new();
        loop {
            let seen = self.of_task(meta, "tasks/get", task, None).await?;
            let pause = match tasks::progress(&seen) {
                Progress::Ended(outcome) => return outcome,
                Progress::Working(pause) => pause,
                Progress::Asks(mut requests, pause) => {
                    requests.retain(|key, _| answered.insert(key.clone()));
                    let state = None;
                    let asked = InputRequired { requests, state };
                    if let Some(answers) = self.answers(id, &asked).await? {
                        let answers = Some(to_raw(&answers));
                        self.of_task(meta, "tasks/update", task, answers).await?;
                    }
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// A list of tasks without those of others.
    fn own_tasks(&self, result: &Raw) -> Raw {
        let mut result: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let all = result.get_mut("tasks").and_then(Value::as_array_mut);
        if let Some(all) = all {
            let own = self.tasks.lock();
            all.retain(|it| it["taskId"].as_str().is_some_and(|id| own.contains(id)));
        }
        raw(&result)
    }

    pub(super) fn remember_task(&self, result: &Raw) {
        if !result.get().contains("taskId") {
            return;
        }
        let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let mut tasks = self.tasks.lock();
        if let Some(id) = result["task"]["taskId"].as_str()
            && tasks.len() < MAX_TASKS
        {
            tasks.insert(id.to_owned());
        }
    }
}
