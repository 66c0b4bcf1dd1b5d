//! The clock of approvals: reminders, escalation, and what is decided when the time is over.

use std::{sync::Arc, time::Duration};

use backoff::{Backoff, Pauses};
use runs::{Approval, Decision, Error, NewApproval, ShardLease};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use work::ApprovalLinkKeys;
use workflow::ApprovalRequest;

use super::{Core, Done, Env, change::Outgoing};
use crate::clock;

/// How often approvals are looked at: reminders and ends are about so late.
const EVERY: Duration = Duration::from_secs(1);
/// The most that are looked at together.
const BATCH: usize = 256;
/// The shortest time between two reminders.
const MIN_REMIND_MS: u64 = 1_000;

/// The longest that a link may be used: 30 days.
const MAX_LINK_MS: u64 = 30 * 86_400_000;

/// What an approval is due for.
#[derive(Debug, Clone, PartialEq)]
enum Due {
    /// Its time is over.
    End { approved: bool },
    /// The next ones are asked.
    Escalate,
    /// Those who were asked are reminded.
    Remind,
    /// Nothing; its next time was wrong.
    Nothing,
}

/// The times of an approval, as its options tell them.
struct Times {
    opened_at: u64,
    due_at: Option<u64>,
    /// When each step of escalation is due.
    escalate: Vec<u64>,
    escalated: usize,
    remind_at: Option<u64>,
    on_timeout: String,
}

impl Times {
    fn of(options: &Value, escalated: u32, due_at: Option<u64>) -> Self {
        let opened_at = options["opened_at"].as_u64().unwrap_or_default();
        let steps = options["escalate"].as_array().into_iter().flatten();
        let steps = steps.map(|step| opened_at + step["after_ms"].as_u64().unwrap_or_default());
        let remind = options["remind_ms"].as_u64().filter(|ms| *ms > 0);
        let reminded = options["reminded"].as_u64().unwrap_or(0);
        Self {
            opened_at,
            due_at: options["due_at"].as_u64().or(due_at),
            escalate: steps.collect(),
            escalated: usize::try_from(escalated).unwrap_or(usize::MAX),
            remind_at: remind.map(|ms| opened_at + ms.max(MIN_REMIND_MS) * (reminded + 1)),
            on_timeout: options["on_timeout"]
                .as_str()
                .unwrap_or("reject")
                .to_owned(),
        }
    }

    /// When something is due next.
    fn next(&self) -> Option<u64> {
        let step = self.escalate.get(self.escalated).copied();
        [self.due_at, step, self.remind_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due at a time.
    fn due(&self, now: u64) -> Due {
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let step = self.escalate.get(self.escalated).copied();
        if is_due(self.due_at) {
            return match self.on_timeout.as_str() {
                "escalate" if step.is_some() => Due::Escalate,
                "approve" => Due::End { approved: true },
                _ => Due::End { approved: false },
            };
        }
        if is_due(step) {
            return Due::Escalate;
        }
        match is_due(self.remind_at) {
            true => Due::Remind,
            false => Due::Nothing,
        }
    }
}

impl Core {
    /// Asks people: the approval is stored with its run.
    pub(super) fn open_approval(&mut self, run_id: &str, request: ApprovalRequest) {
        let ApprovalRequest {
            key,
            node_id,
            message,
            mut options,
            context,
            due_at,
        } = request;
        let now = clock::now();
        options["opened_at"] = now.into();
        if let Some(next) = Times::of(&options, 0, due_at).next() {
            options["next_at"] = next.into();
            let in_ms = Duration::from_millis(next.saturating_sub(now).min(86_400_000));
            self.approvals.by(Instant::now() + in_ms);
        }
        let approval = NewApproval {
            key,
            run_id: run_id.to_owned(),
            node_id,
            message,
            options,
            context,
            due_at,
        };
        let tag = self.runs.get(run_id).and_then(|run| run.meta.tag.clone());
        let told = notification(&self.env.links, &approval, tag.as_deref(), "asked", 0);
        if let Some((url, key, body)) = told {
            let outgoing = &mut self.changes.of(run_id).outgoing;
            outgoing.push(Outgoing::Notify { url, key, body });
        }
        let change = self.changes.of(run_id);
        change.approvals_opened.push(approval);
    }

    pub(super) fn look_at_approvals(&mut self, now: Instant) {
        if !self.has_ready_shards() || !self.approvals.begin(now) {
            return;
        }
        let leases = self.ready_leases();
        let env = Arc::clone(&self.env);
        self.tasks
            .spawn(async move { Done::Approvals(look(&env, &leases).await) });
    }

    pub(super) fn approvals_read(&mut self, looked: Result<bool, Error>) {
        let now = Instant::now();
        match looked {
            Ok(true) => self.approvals.again(now),
            Ok(false) => self.approvals.again(now + EVERY),
            Err(error) => {
                self.note_store(Some(&error));
                let at = self.pause();
                self.approvals.again(at.max(now + EVERY));
            }
        }
    }
}

/// Does what is due now; says whether there is more.
async fn look(env: &Env, leases: &[ShardLease]) -> Result<bool, Error> {
    let now = clock::now();
    let due = env.store.due_approvals(leases, now, BATCH).await?;
    let more = due.len() >= BATCH;
    for approval in due {
        attend(env, approval, now).await?;
    }
    Ok(more)
}

async fn attend(env: &Env, approval: Approval, now: u64) -> Result<(), Error> {
    let Approval {
        asked,
        escalated,
        tag,
        ..
    } = approval;
    let mut asked = asked;
    let times = Times::of(&asked.options, escalated, asked.due_at);
    let count = |event: &str| env.metrics.approval(event);
    let mut steps = escalated;
    match times.due(now) {
        Due::End { approved } => {
            let decision = Decision {
                approved,
                by: String::new(),
                comment: "the time is over".to_owned(),
                data: json!({ "timeout": true }),
                at: now,
            };
            match env.store.decide(&asked.key, &decision).await {
                Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => count("expired"),
                Err(error) => return Err(error),
            }
            tell(env, &asked, tag.as_deref(), "expired", u64::from(steps)).await;
            return Ok(());
        }
        Due::Escalate => {
            let step = asked.options["escalate"][times.escalated].take();
            asked.options["escalate"][times.escalated] = step.clone();
            add_approvers(&mut asked.options, &step["approvers"]);
            steps += 1;
            if times.due_at.is_some_and(|due| due <= now) {
                // Those who are asked now have as long as the first ones had.
                let first = asked.due_at.unwrap_or(now);
                let span = first.saturating_sub(times.opened_at).max(MIN_REMIND_MS);
                asked.options["due_at"] = (now + span).into();
            }
            count("escalated");
            tell(env, &asked, tag.as_deref(), "escalated", u64::from(steps)).await;
        }
        Due::Remind => {
            let every = asked.options["remind_ms"].as_u64().unwrap_or(0);
            let every = every.max(MIN_REMIND_MS);
            // Those that were missed are one.
            let reminded = now.saturating_sub(times.opened_at) / every;
            asked.options["reminded"] = reminded.into();
            count("reminded");
            tell(env, &asked, tag.as_deref(), "reminded", reminded).await;
        }
        Due::Nothing => {}
    }
    let next = Times::of(&asked.options, steps, asked.due_at).next();
    asked.options["next_at"] = next.map_or(Value::Null, Into::into);
    match env.store.escalate(&asked.key, steps, &asked.options).await {
        Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
        done => done,
    }
}

/// Whom nobody has named may be anybody: a step of escalation does not narrow that.
fn add_approvers(options: &mut Value, more: &Value) {
    let more = more.as_array().cloned().unwrap_or_default();
    if let Some(approvers) = options["approvers"].as_array_mut()
        && !approvers.is_empty()
    {
        for approver in more {
            if !approvers.contains(&approver) {
                approvers.push(approver);
            }
        }
    }
}

/// Tells the server that the approval names, if it names one. That is tried for a while by the queue.
async fn tell(env: &Env, asked: &NewApproval, tag: Option<&str>, event: &str, number: u64) {
    if let Some((url, key, body)) = notification(&env.links, asked, tag, event, number)
        && let Err(error) = notify(env, &url, &key, &body).await
    {
        tracing::warn!(error, approval = asked.key, "nobody is told of an approval");
    }
}

fn notification(
    links: &ApprovalLinkKeys,
    asked: &NewApproval,
    tag: Option<&str>,
    event: &str,
    number: u64,
) -> Option<(String, String, Value)> {
    let url = asked.options["notify_url"].as_str()?;
    let key = format!("{}.{event}.{number}", asked.key);
    let due_at = asked.options["due_at"].as_u64().or(asked.due_at);
    let body = json!({
        "event": event,
        "approval": asked.key,
        "run_id": asked.run_id,
        "node_id": asked.node_id,
        "workflow_tag": tag,
        "message": asked.message,
        "approvers": asked.options["approvers"],
        "context": asked.context,
        "due_at": due_at,
        "links": links_of(links, asked, due_at),
    });
    Some((url.to_owned(), key, body))
}

/// A link for each approver that is named, which is worth something as long as the approval waits.
fn links_of(keys: &ApprovalLinkKeys, asked: &NewApproval, due_at: Option<u64>) -> Vec<Value> {
    let latest = clock::now() + MAX_LINK_MS;
    let until = due_at.map_or(latest, |due| due.min(latest));
    let approvers = asked.options["approvers"].as_array().into_iter().flatten();
    let named = approvers
        .filter_map(Value::as_str)
        .filter(|name| *name != "*");
    let links = named.filter_map(|person| {
        let link = keys.sign_for_others(&asked.key, person, until)?;
        Some(json!({"person": person, "url": link.url, "page": link.page, "expires_at": until}))
    });
    links.collect()
}

/// Submits the job that tells a server.
pub(super) async fn notify(env: &Env, url: &str, key: &str, body: &Value) -> Result<(), String> {
    let job = env.dispatcher.notification(url, key, body)?;
    let mut pauses = Pauses::new(Backoff::equal_jitter(
        Duration::from_millis(100),
        Duration::from_secs(3),
    ));
    loop {
        match env.jobs.submit(job.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_of_the_store() => {
                let pause = pauses.after_failure(&mut rand::rng());
                sleep(pause).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(on_timeout: &str) -> Value {
        json!({
            "opened_at": 1_000, "on_timeout": on_timeout, "remind_ms": 2_000,
            "escalate": [{"after_ms": 5_000, "approvers": ["boss"]}],
            "approvers": ["ann"], "quorum": 1,
        })
    }

    #[test]
    fn the_next_time_is_that_of_a_reminder_an_escalation_or_the_end() {
        let times = |options: &Value, escalated| Times::of(options, escalated, Some(20_000));
        let mut options = options("reject");
        assert_eq!(times(&options, 0).next(), Some(3_000));
        assert_eq!(times(&options, 0).due(2_999), Due::Nothing);
        assert_eq!(times(&options, 0).due(3_000), Due::Remind);
        options["reminded"] = 2.into();
        assert_eq!(times(&options, 0).next(), Some(6_000));
        assert_eq!(times(&options, 0).due(6_000), Due::Escalate);
        options["reminded"] = 100.into();
        assert_eq!(times(&options, 1).next(), Some(20_000));
        assert_eq!(times(&options, 1).due(20_000), Due::End { approved: false });
    }

    #[test]
    fn when_the_time_is_over_the_options_decide() {
        let due = |on_timeout, escalated| {
            Times::of(&options(on_timeout), escalated, Some(2_000)).due(50_000)
        };
        assert_eq!(due("approve", 0), Due::End { approved: true });
        assert_eq!(due("fail", 0), Due::End { approved: false });
        assert_eq!(due("escalate", 0), Due::Escalate);
        assert_eq!(due("escalate", 1), Due::End { approved: false });
    }

    #[test]
    fn escalation_adds_approvers_and_never_narrows_who_may_decide() {
        let mut options = options("reject");
        add_approvers(&mut options, &json!(["boss", "ann"]));
        assert_eq!(options["approvers"], json!(["ann", "boss"]));
        let mut anybody = json!({ "approvers": [] });
        add_approvers(&mut anybody, &json!(["boss"]));
        assert_eq!(anybody["approvers"], json!([]));
    }
}
