//! An entry of a schedule as people write it.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use config::parse_duration;
use jobs::{Lane, MissedPolicy, Schedule, Timer};
use serde::Deserialize;
use serde_json::Value;

use crate::EntryDefaults;

/// A table of the file, by the entry's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {
    /// A cron pattern: five fields, six with seconds first, seven with a year last. This or
    /// `every`.
    pub cron: Option<String>,
    /// The pattern's time zone by its IANA name; `schedule_timezone` by default.
    pub timezone: Option<String>,
    /// A duration such as `90s`, at least 100 ms.
    pub every: Option<String>,
    /// What to do about times that went by while no scheduler ran: `once` (the default), `all` or
    /// `skip`.
    #[serde(default)]
    pub missed: MissedPolicy,
    /// The kind of its jobs, such as `call`.
    pub kind: String,
    /// What they are about.
    pub payload: Value,
    /// Their queue; `queue_name` by default.
    pub queue: Option<String>,
    /// Their priority, 1 to 5.
    pub priority: Option<u8>,
    /// How often each is tried at most.
    pub max_attempts: Option<u32>,
    /// How long one attempt may take, as a duration.
    pub timeout: Option<String>,
}

impl ScheduleEntry {
    /// The timer of an entry.
    ///
    /// # Errors
    /// When a field will not do.
    pub(crate) fn timer(&self, name: &str, keys: &EntryDefaults) -> anyhow::Result<Timer> {
        let when = match (&self.cron, &self.every) {
            (Some(pattern), None) => Schedule::Cron(pattern.clone()),
            (None, Some(every)) => Schedule::Every(millis(duration("every", every)?)),
            _ => bail!("give one of cron and every"),
        };
        let mut timer = Timer::new(name, when, &self.kind, self.payload.clone());
        match (&self.timezone, &timer.when) {
            (Some(_), Schedule::Every(_)) => bail!("timezone: only a cron pattern has one"),
            (Some(zone), Schedule::Cron(_)) => timer.timezone.clone_from(zone),
            (None, Schedule::Cron(_)) => timer.timezone = keys.schedule.schedule_timezone.clone(),
            (None, Schedule::Every(_)) => {}
        }
        timer.missed = self.missed;
        timer.queue = keys.queue.queue(self.queue.as_deref());
        if let Some(priority) = self.priority {
            ensure!(
                jobs::PRIORITIES.contains(&priority),
                "priority: {priority} is not 1 to 5"
            );
            timer.priority = priority;
        }
        timer.max_attempts = self.max_attempts.unwrap_or(timer.max_attempts);
        if let Some(timeout) = &self.timeout {
            timer.timeout_ms = millis(duration("timeout", timeout)?);
        }
        check(&timer, keys)?;
        Ok(timer)
    }
}

/// Whether a timer will fire: its pattern, and the job that it makes.
pub(crate) fn check(timer: &Timer, keys: &EntryDefaults) -> anyhow::Result<()> {
    timer.check()?;
    Lane::new(&timer.queue, 0)?;
    let job = work::timer_job(timer, "check").context("payload")?;
    let (size, most) = (job.payload.bytes().len(), keys.queue.jobs_max_payload);
    ensure!(
        size <= most,
        "payload: {size} bytes are more than jobs_max_payload = {most}"
    );
    Ok(())
}

fn duration(field: &str, text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).with_context(|| format!("{field}: {text:?} is no duration such as 90s"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
