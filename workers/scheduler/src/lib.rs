//! The scheduler: submits jobs by the clock. Any number may run beside each other, each time of an
//! entry makes one job.
//!
//! Entries are kept in the store of jobs, as [`jobs::Timer`]s. Those of a file (`schedule_file`)
//! are put there by each scheduler that has the file, under names beginning with `file/`, and
//! follow the file while it changes; `SCHEDULE_INTERVAL_SECONDS` makes one more, `interval`. A
//! scheduler fires the entries that it has, puts back those that the store has lost, and removes
//! those that no scheduler has had for a minute.

mod entry;
mod file;
mod interval;
mod watcher;

use std::{path::PathBuf, time::Duration};

use jobs::{Error, Schedule, Scheduler, Timer};
use service::{
    Config, Context, ServiceKind, Services, Severity, Spec,
    config::{DefaultValue, duration, keys, optional_number, path, text},
};
use work::{QueueKeys, StoreMonitor};

use crate::watcher::ScheduleWatcher;

pub use entry::ScheduleEntry;

keys! {
    /// The scheduler.
    #[derive(Clone, Debug)]
    pub(crate) struct ScheduleKeys: "Scheduler" {
        /// TOML file of entries. It is read again when it changes. Empty: none.
        schedule_file: Option<PathBuf> = path(),
        /// Time zone of the cron patterns of entries that name none.
        schedule_timezone: String = text("UTC")
            .only(is_zone, "a name of the IANA database such as Europe/Berlin"),
        /// Seconds between two jobs of the entry `interval`. Empty: no such entry.
        schedule_interval_seconds: Option<f64> = optional_number(DefaultValue::Text(""), 0.1..=366.0 * 86_400.0, "seconds"),
        /// Kind of the jobs of the entry `interval`.
        schedule_kind: String = text("call").only(
            |kind| work::kind(kind).is_ok(),
            "the name of a kind of jobs, such as call",
        ),
        /// Payload of the jobs of the entry `interval`.
        schedule_payload: String = text(
            r#"{"service":"agent-echo","method":"agentplatform.AgentService/GetStatus","payload":{}}"#,
        ).only(is_json, "a JSON object"),
        /// Longest time until a new or changed entry is noticed, 50 ms at least. Known ones fire on
        /// time.
        schedule_poll: Duration = duration("1s").zero("50 ms"),
    }
}

/// The defaults of entries.
#[derive(Clone, Debug)]
pub(crate) struct EntryDefaults {
    pub(crate) schedule: ScheduleKeys,
    pub(crate) queue: QueueKeys,
}

impl EntryDefaults {
    pub(crate) fn from_config(config: &Config) -> Self {
        Self {
            schedule: ScheduleKeys::from_config(config),
            queue: QueueKeys::from_config(config),
        }
    }
}

/// The scheduler's description.
pub const SPEC: Spec = Spec {
    program: "mesh-scheduler",
    service: "mesh-scheduler",
    kind: ServiceKind::Service,
    tags: &["jobs", "scheduler"],
    port_env: "SCHEDULER_PORT",
    default_port: 8087,
    version: env!("CARGO_PKG_VERSION"),
    about: "The scheduler: submits jobs by the clock",
    idempotent: &[],
    keys: &[service::GRPC, &[ScheduleKeys::GROUP], work::KEYS],
};

/// Builds a scheduler.
///
/// # Errors
/// When an entry is invalid, or the queue cannot be opened.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = EntryDefaults::from_config(&context.config);
    let (jobs, poll) = (keys.queue.open_for(context)?, keys.schedule.schedule_poll);
    // Without its store it cannot work.
    drop(StoreMonitor::start(context, &jobs, Severity::NotReady));
    let watcher = ScheduleWatcher::new(keys)?;
    let make = |timer: &Timer, key: &str| {
        let job = work::timer_job(timer, key);
        job.map_err(|error| Error::Invalid {
            field: "payload",
            reason: error.to_string(),
        })
    };
    let scheduler = Scheduler::new(jobs, poll)
        .with_entries(&[file::PREFIX, interval::NAME], watcher.entries())
        .with_factory(make);
    let stop = context.draining.clone();
    context.tracker.spawn(watcher.run(poll, stop.clone()));
    context
        .tracker
        .spawn(async move { scheduler.run(stop).await });
    // No services but health: its work is in the store.
    Ok(Services::new())
}

fn is_zone(name: &str) -> bool {
    let mut timer = Timer::new(
        "zone",
        Schedule::Cron("@daily".to_owned()),
        "call",
        ().into(),
    );
    name.clone_into(&mut timer.timezone);
    timer.check().is_ok()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
