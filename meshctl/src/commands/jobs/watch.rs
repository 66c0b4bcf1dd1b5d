//! `meshctl jobs watch`.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use tokio::time::{interval, sleep};
use url::Url;

use super::view::{self, is_end};
use crate::{
    duration, failure,
    gateway::{GatewayClient, Problem},
    output::{Output, text},
};

/// How long a gateway may be away meanwhile.
const GATEWAY_AWAY_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait before it is asked again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Characters of the bar.
const BAR_WIDTH: usize = 30;
/// Characters of progress that is no percentage.
const MAX_TEXT: usize = 50;

/// Follow a job to its end. A terminal shows a bar. Programs get its events from the beginning, then
/// the job, as a line of JSON each. A gateway may be away for a minute meanwhile.
///
/// Exits with 0 when the job succeeded, 3 when it was given up, 4 when it was cancelled. A queue is
/// followed until an interrupt.
#[derive(Args, Debug)]
pub(super) struct Watch {
    /// A job's id
    #[arg(required_unless_present = "queue", conflicts_with = "queue")]
    id: Option<String>,

    /// Follow all jobs of a queue instead, from the oldest event that is kept
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

impl Watch {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        match (self.id, self.queue) {
            (Some(id), _) => follow(gateway, out, &id).await,
            (None, queue) => follow_queue(gateway, out, &queue.unwrap_or_default()).await,
        }
    }
}

/// Since when a gateway is away.
#[derive(Debug, Default)]
struct Outage(Option<Instant>);

impl Outage {
    /// Fails with what waiting does not help against: a refusal that lasts, a gateway that is away
    /// for too long, or an answer that nobody reads.
    fn tolerate(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let lasts = Problem::of(&error).is_some_and(|problem| !problem.is_transient());
        let since = *self.0.get_or_insert_with(Instant::now);
        if lasts || failure::is_broken_pipe(&error) || since.elapsed() >= GATEWAY_AWAY_LIMIT {
            return Err(error);
        }
        Ok(())
    }

    fn end(&mut self) {
        self.0 = None;
    }
}

/// Prints every event of a queue, without end.
async fn follow_queue(
    gateway: &GatewayClient,
    out: &Output,
    queue: &str,
) -> anyhow::Result<ExitCode> {
    let mut url = gateway.url(&["events"]);
    url.query_pairs_mut().append_pair("queue", queue);
    let (mut cursor, mut outage) = (String::new(), Outage::default());
    loop {
        let ended = queue_events(gateway, &url, out, &mut cursor, &mut outage).await;
        ended.or_else(|error| outage.tolerate(error))?;
        sleep(RETRY_DELAY).await;
    }
}

async fn queue_events(
    gateway: &GatewayClient,
    url: &Url,
    out: &Output,
    cursor: &mut String,
    outage: &mut Outage,
) -> anyhow::Result<()> {
    let Some(mut events) = gateway.events(url, cursor).await? else {
        return Ok(());
    };
    while let Some(event) = events.next().await? {
        outage.end();
        text(&event, "cursor").clone_into(cursor);
        if out.json {
            out.value(&event)?;
        } else {
            out.line(&event_line(&event))?;
        }
    }
    Ok(())
}

/// `2026-11-30T01:02:03.456Z  running    ID  50%`.
fn event_line(event: &Value) -> String {
    let words = ["progress", "error", "detail"].map(|field| text(event, field));
    let words = words.iter().find(|words| !words.is_empty());
    let words = words.and_then(|words| words.lines().next());
    let line = format!(
        "{}  {:<10} {}  {}",
        text(event, "at"),
        text(event, "event"),
        text(event, "job_id"),
        words.unwrap_or_default()
    );
    line.trim_end().to_owned()
}

/// Follows a job to its end.
pub(super) async fn follow(
    gateway: &GatewayClient,
    out: &Output,
    id: &str,
) -> anyhow::Result<ExitCode> {
    let url = gateway.url(&["jobs", id]);
    let mut state = WatchState::new(out, &gateway.get(&url).await?);
    let mut outage = Outage::default();
    loop {
        let told = match events(gateway, id, &mut state).await {
            Ok(()) => gateway.get(&url).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(job) if is_end(&text(&job, "status")) => return state.end(&job),
            // This gateway leaves, and another one has more.
            Ok(_) => outage.end(),
            Err(error) => outage.tolerate(error).inspect_err(|_| out.progress(""))?,
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Shows events until the gateway ends them.
async fn events(
    gateway: &GatewayClient,
    id: &str,
    state: &mut WatchState<'_>,
) -> anyhow::Result<()> {
    let url = gateway.url(&["jobs", id, "events"]);
    let Some(mut events) = gateway.events(&url, &state.cursor).await? else {
        return Ok(());
    };
    let mut clock = interval(RETRY_DELAY);
    loop {
        tokio::select! {
            event = events.next() => match event? {
                Some(event) => state.event(&event)?,
                None => return Ok(()),
            },
            _ = clock.tick() => state.bar(),
        }
    }
}

/// What was shown so far.
struct WatchState<'a> {
    out: &'a Output,
    cursor: String,
    status: String,
    progress: String,
    since: Instant,
    lines: bool,
}

impl<'a> WatchState<'a> {
    fn new(out: &'a Output, job: &Value) -> Self {
        Self {
            out,
            cursor: String::new(),
            status: text(job, "status"),
            progress: text(job, "progress"),
            since: Instant::now(),
            lines: out.json || !out.is_terminal(),
        }
    }

    fn event(&mut self, event: &Value) -> anyhow::Result<()> {
        event["cursor"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.cursor);
        if self.lines {
            return Ok(self.out.value(event)?);
        }
        match text(event, "event").as_str() {
            "progress" => self.progress = text(event, "progress"),
            // No status: some events are no longer kept, and the job itself is read at the end.
            "missed" => {}
            status => {
                // Each attempt has a progress of its own.
                self.progress.clear();
                status.clone_into(&mut self.status);
            }
        }
        self.bar();
        Ok(())
    }

    fn bar(&self) {
        let seconds = i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX);
        let time = duration::shown(seconds);
        self.out.progress(&bar(&self.status, &self.progress, &time));
    }

    fn end(&self, job: &Value) -> anyhow::Result<ExitCode> {
        self.out.progress("");
        if self.lines {
            self.out.value(job)?;
        } else {
            view::show(self.out, job)?;
        }
        Ok(ExitCode::from(match text(job, "status").as_str() {
            "succeeded" => 0,
            "dead" => 3,
            _ => 4,
        }))
    }
}

/// `running    [###############---------------]  50 %  12s`; what is no percentage stands as it is.
fn bar(status: &str, progress: &str, time: &str) -> String {
    let percent = progress
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent));
    let Some(percent) = percent else {
        // A line that wraps could not be written over.
        let first = progress.lines().next().unwrap_or_default();
        let first: String = first.chars().take(MAX_TEXT).collect();
        return format!("{status:<10} {first}  {time}");
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to BAR_WIDTH"
    )]
    let full = (percent / 100.0 * BAR_WIDTH as f64) as usize;
    let (full, rest) = ("#".repeat(full), "-".repeat(BAR_WIDTH - full));
    format!("{status:<10} [{full}{rest}] {percent:>3.0} %  {time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_bar_and_other_progress_is_itself() {
        let half = format!("[{}{}]", "#".repeat(15), "-".repeat(15));
        assert_eq!(
            bar("running", "50%", "12s"),
            format!("running    {half}  50 %  12s")
        );
        assert!(bar("running", "100%", "1m").contains(&"#".repeat(BAR_WIDTH)));
        assert_eq!(
            bar("running", "step 2\nof 3", "1s"),
            "running    step 2  1s"
        );
        for wild in ["1e9%", "-5%", "NaN%", "%"] {
            assert!(bar("running", wild, "1s").contains(wild));
        }
    }
}
