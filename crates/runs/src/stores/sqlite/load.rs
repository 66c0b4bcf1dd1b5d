//! Runs with all that is kept of them.

use rusqlite::{Connection, Row};

use super::database::{first, json, maybe_number, number, rows};
use crate::{
    Error, RunRecord, RunSummary,
    stores::find::{HEADER, SUMMARY},
};

/// What a row says of a run.
pub(super) fn summary(row: &Row<'_>) -> Result<RunSummary, Error> {
    let parent: Option<String> = row.get(14)?;
    let parent_key: Option<String> = row.get(15)?;
    let active: Option<String> = row.get(13)?;
    let active = active.map(|active| serde_json::from_str(&active));
    let active = active.transpose();
    Ok(RunSummary {
        run_id: row.get(0)?,
        owner: row.get(1)?,
        submitted_by: row.get(2)?,
        tag: row.get(3)?,
        base: (row.get(4)?, row.get(5)?),
        tags_snapshot: json(row, 6)?,
        status: row.get(7)?,
        error: row.get(8)?,
        submitted_at: number(row, 9)?,
        started_at: maybe_number(row, 10)?,
        ended_at: maybe_number(row, 11)?,
        labels: json(row, 12)?,
        active_nodes: active
            .map_err(|error| Error::Damaged(error.to_string()))?
            .unwrap_or_default(),
        parent: parent.zip(parent_key),
    })
}

/// A run as lists show it, if there is one.
pub(super) fn one_summary(db: &Connection, run_id: &str) -> Result<Option<RunSummary>, Error> {
    let sql = format!("SELECT {SUMMARY} FROM run r {HEADER} WHERE r.run_id = ?1");
    first(db, &sql, [run_id], summary)
}

/// A run, if there is one.
pub(super) fn record(db: &Connection, run_id: &str) -> Result<Option<RunRecord>, Error> {
    let sql = format!(
        "SELECT {SUMMARY}, r.workflow, r.start, h.record, r.keep_ms FROM run r {HEADER} WHERE r.run_id = ?1"
    );
    let found = first(db, &sql, [run_id], |row| {
        Ok(RunRecord {
            summary: summary(row)?,
            workflow: row.get(16)?,
            keep_ms: number(row, 19)?,
            start: row.get(17)?,
            header: row.get::<_, Option<Vec<u8>>>(18)?.unwrap_or_default(),
            nodes: Vec::new(),
        })
    })?;
    let Some(mut record) = found else {
        return Ok(None);
    };
    if !record.header.is_empty() {
        let sql = "SELECT key, record FROM node WHERE run_id = ?1 AND key > '' ORDER BY key";
        record.nodes = rows(db, sql, [run_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    }
    Ok(Some(record))
}

/// Those of some runs that are there.
pub(super) fn records(db: &Connection, run_ids: &[String]) -> Result<Vec<RunRecord>, Error> {
    let mut found = Vec::with_capacity(run_ids.len());
    for run_id in run_ids {
        found.extend(record(db, run_id)?);
    }
    Ok(found)
}

/// The running ones of a shard.
pub(super) fn running(db: &Connection, shard: u16) -> Result<Vec<RunRecord>, Error> {
    let sql = "SELECT run_id FROM run WHERE status = 'RUNNING' AND idle = 0 AND shard = ?1";
    let run_ids = rows(db, sql, [shard], |row| Ok(row.get(0)?))?;
    records(db, &run_ids)
}
