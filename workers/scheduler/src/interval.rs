//! The entry that `SCHEDULE_INTERVAL_SECONDS` makes.

use std::time::Duration;

use crate::{EntryDefaults, entry};
use anyhow::{Context as _, anyhow};
use jobs::{Schedule, Timer};
use serde_json::Value;

/// Its name in the store.
pub(crate) const NAME: &str = "interval";

/// The entry, if there is to be one.
pub(crate) fn timer(keys: &EntryDefaults) -> anyhow::Result<Option<Timer>> {
    let Some(seconds) = keys.schedule.schedule_interval_seconds else {
        return Ok(None);
    };
    let every = Duration::try_from_secs_f64(seconds)?;
    let every = Schedule::Every(u64::try_from(every.as_millis())?);
    let kind = &*keys.schedule.schedule_kind;
    let payload: Value =
        serde_json::from_str(&keys.schedule.schedule_payload).map_err(|error| {
            let said = error.to_string();
            anyhow!(
                "schedule_payload: is no JSON: {}",
                telemetry::humanize(&said)
            )
        })?;
    let mut timer = Timer::new(NAME, every, kind, payload);
    timer.queue = keys.queue.queue(None);
    entry::check(&timer, keys).context("the entry of schedule_interval_seconds")?;
    Ok(Some(timer))
}
