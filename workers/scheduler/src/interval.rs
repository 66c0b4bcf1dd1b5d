//! The entry that `SCHEDULE_INTERVAL_SECONDS` makes.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jobs::{Timer, Schedule};
use serde_json::Value;
use service::Config;

use crate::entry;

/// Its name in the store.
pub(crate) const NAME: &str = "interval";

/// The entry, if there is to be one.
pub(crate) fn timer(config: &Config) -> anyhow::Result<Option<Timer>> {
    if config.optional("schedule_interval_seconds").is_none() {
        return Ok(None);
    }
    let every = Duration::try_from_secs_f64(config.number("schedule_interval_seconds"))?;
    let every = Schedule::Every(u64::try_from(every.as_millis())?);
    let kind = config.text("schedule_kind");
    let payload: Value =
        serde_json::from_str(config.text("schedule_payload")).map_err(|error| {
            let said = error.to_string();
            anyhow!("schedule_payload: is no JSON: {}", telemetry::humanize(&said))
        })?;
    let mut timer = Timer::new(NAME, every, kind, payload);
    timer.queue = work::queue(config, None);
    entry::check(&timer, config).context("the entry of schedule_interval_seconds")?;
    Ok(Some(timer))
}
