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

use jobs::{Error, Scheduler, Timer, Schedule};
use service::{Context, Key, ServiceKind, Services, Spec, Type, Severity};
use work::StoreMonitor;

use crate::watcher::ScheduleWatcher;

pub use entry::ScheduleEntry;

const OWN: &[Key] = &[
    Key::text(
        "schedule_file",
        "",
        "TOML file of entries, read again when it changes",
    ),
    Key::new(
        "schedule_timezone",
        Type::Custom(is_zone, "a name of the IANA database such as Europe/Berlin"),
        "UTC",
        "time zone of the cron patterns of entries that name none",
    ),
    Key::new(
        "schedule_interval_seconds",
        Type::Number(0.1, 366.0 * 86_400.0),
        "",
        "seconds between two jobs of the entry `interval`; none when empty",
    ),
    Key::new(
        "schedule_kind",
        Type::Custom(
            |kind| work::JobKind::parse(kind).is_ok(),
            "call, http, pipeline or task",
        ),
        "call",
        "kind of the jobs of the entry `interval`",
    ),
    Key::new(
        "schedule_payload",
        Type::Custom(is_json, "a JSON object"),
        r#"{"service":"agent-echo","method":"agentplatform.AgentService/GetStatus","payload":{}}"#,
        "what the jobs of the entry `interval` are about",
    ),
    Key::duration(
        "schedule_poll",
        "1s",
        "how soon a new or changed entry is noticed; known ones fire on time",
    ),
];

/// What the scheduler says of itself.
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
    keys: &Key::join::<{ OWN.len() + work::KEYS.len() }>(&[OWN, work::KEYS]),
};

/// Builds a scheduler.
///
/// # Errors
/// When an entry will not do, or the queue cannot be opened.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let jobs = work::open(config)?;
    let poll = config.duration("schedule_poll");
    // It has nothing to do but what is in there.
    drop(StoreMonitor::start(context, &jobs, Severity::NotReady));
    let watcher = ScheduleWatcher::new(config)?;
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
    // Health, and nothing else: what it does is in the store.
    Ok(Services::new())
}

fn is_zone(name: &str) -> bool {
    let mut timer = Timer::new("zone", Schedule::Cron("@daily".to_owned()), "call", ().into());
    name.clone_into(&mut timer.timezone);
    timer.check().is_ok()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
