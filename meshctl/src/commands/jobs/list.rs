//! `meshctl jobs list`, and pages of jobs for whoever needs them.

use clap::Args;
use serde_json::Value;

use super::view::status;
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Jobs on one page: results may be large.
const PAGE: usize = 100;
/// Characters of a job's error or progress in a table.
const MAX_TEXT: usize = 60;

/// List jobs, the latest enqueued first. `--json` prints them in the gateway's order.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only with this status: queued, scheduled, running, succeeded, failed, dead or cancelled
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,

    #[command(flatten)]
    which: JobFilter,

    /// How many at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Which jobs.
#[derive(Args, Debug)]
pub(super) struct JobFilter {
    /// Only of this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    #[arg(long, value_name = "KIND", help = format!("Only of this kind: {}", work::kind_names()))]
    kind: Option<String>,
}

impl List {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let listed = pages(gateway, self.status.as_deref(), &self.which, self.limit);
        show(out, listed, "there are no jobs").await
    }
}

/// Lists what the pages hold: a job a line for programs, a table for people.
pub(super) async fn show(out: &Output, mut pages: Pages<'_>, none: &str) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    while let Some(jobs) = pages.next().await? {
        if out.json {
            jobs.iter().try_for_each(|job| out.value(job))?;
        } else {
            rows.extend(jobs.iter().map(row));
        }
    }
    if !out.json && rows.is_empty() {
        out.remark(none);
    }
    // RFC 3339 in UTC sorts as text.
    rows.sort_by(|one, other| other[ENQUEUED].cmp(&one[ENQUEUED]));
    let heading = [
        "ID",
        "KIND",
        "STATUS",
        "TRIED",
        "ENQUEUED",
        "ERROR OR PROGRESS",
    ];
    out.table(heading, &rows)?;
    if pages.more {
        out.remark("there are more: --limit says how many to list");
    }
    Ok(())
}

/// The column of the time at which a job was enqueued.
const ENQUEUED: usize = 4;

fn row(job: &Value) -> [String; 6] {
    let words = match text(job, "error") {
        none if none.is_empty() => text(job, "progress"),
        error => error,
    };
    let words = shortened(&words);
    [
        text(job, "job_id"),
        text(job, "kind"),
        status(job),
        format!("{}/{}", job["attempt"], job["max_attempts"]),
        text(job, "enqueued_at"),
        words,
    ]
}

/// The first line, with `…` where more follows.
fn shortened(words: &str) -> String {
    let first = words.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(MAX_TEXT).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    short
}

/// Pages of jobs, one after another.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    gateway: &'a GatewayClient,
    query: Vec<(&'static str, String)>,
    /// How many are still wanted.
    left: usize,
    /// Where the next page begins; `None` after the last.
    cursor: Option<String>,
    /// Whether there are more than wanted.
    more: bool,
}

/// Jobs with a status, at most `limit` of them; 0 for all.
pub(super) fn pages<'a>(
    gateway: &'a GatewayClient,
    status: Option<&str>,
    which: &JobFilter,
    limit: usize,
) -> Pages<'a> {
    let given = [
        ("status", status),
        ("queue", which.queue.as_deref()),
        ("kind", which.kind.as_deref()),
    ];
    let given = given.into_iter();
    Pages {
        gateway,
        query: given
            .filter_map(|(name, value)| Some((name, value?.to_owned())))
            .collect(),
        left: if limit == 0 { usize::MAX } else { limit },
        cursor: Some(String::new()),
        more: false,
    }
}

impl Pages<'_> {
    /// The next page, which may be empty; `None` after the last.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Value>>> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let mut url = self.gateway.url(&["jobs"]);
        let size = self.left.min(PAGE).to_string();
        url.query_pairs_mut()
            .extend_pairs(&self.query)
            .append_pair("limit", &size)
            .append_pair("cursor", &cursor);
        let mut page = self.gateway.get(&url).await?;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        let mut jobs = match page["jobs"].take() {
            Value::Array(jobs) => jobs,
            _ => Vec::new(),
        };
        self.more = jobs.len() > self.left || (jobs.len() == self.left && next.is_some());
        jobs.truncate(self.left);
        self.left -= jobs.len();
        self.cursor = next.filter(|_| self.left > 0);
        Ok(Some(jobs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_shown_to_be_cut() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("one\ntwo"), "one…");
        let long = shortened(&"ä".repeat(100));
        assert_eq!(long.chars().count(), MAX_TEXT + 1);
        assert!(long.ends_with('…'));
    }
}
