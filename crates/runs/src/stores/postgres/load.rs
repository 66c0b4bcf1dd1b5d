//! Runs with all that is kept of them.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{
    call::{Call, Trouble, column, json, maybe_number, number, text},
    pool::Lent,
};
use crate::{
    Error, RunRecord, RunSummary,
    stores::find::{HEADER_OF_EACH as HEADER, SUMMARY},
};

/// What a row says of a run.
pub(super) fn summary(row: &Row) -> Result<RunSummary, Error> {
    let parent: Option<String> = column(row, 14)?;
    let active: Option<&str> = column(row, 13)?;
    let active = active.map(serde_json::from_str).transpose();
    Ok(RunSummary {
        run_id: column(row, 0)?,
        owner: column(row, 1)?,
        submitted_by: column(row, 2)?,
        tag: column(row, 3)?,
        base: (column(row, 4)?, column(row, 5)?),
        tags_snapshot: json(row, 6)?,
        status: column(row, 7)?,
        error: column(row, 8)?,
        submitted_at: number(row, 9)?,
        started_at: maybe_number(row, 10)?,
        ended_at: maybe_number(row, 11)?,
        labels: json(row, 12)?,
        active_nodes: active
            .map_err(|error| Error::Damaged(error.to_string()))?
            .unwrap_or_default(),
        parent: parent.zip(column(row, 15)?),
    })
}

/// A run as lists show it, if there is one.
pub(super) async fn one_summary(
    session: &mut Lent,
    run_id: &str,
) -> Result<Option<RunSummary>, Error> {
    let sql = format!("SELECT {SUMMARY} FROM run r {HEADER} WHERE r.run_id = $1");
    let row = session.first(Call::new(sql).with(text(run_id))).await?;
    row.as_ref().map(summary).transpose()
}

/// What a row says of a run and its header: the columns of a summary, `workflow`, `start`, `record`, `keep_ms`.
pub(super) fn record(row: &Row) -> Result<RunRecord, Error> {
    Ok(RunRecord {
        summary: summary(row)?,
        workflow: column(row, 16)?,
        start: column(row, 17)?,
        header: column::<Option<Vec<u8>>>(row, 18)?.unwrap_or_default(),
        keep_ms: number(row, 19)?,
        nodes: Vec::new(),
    })
}

/// Those of some runs that are there, in the order of their ids.
pub(super) async fn records(
    session: &mut Lent,
    run_ids: &[String],
) -> Result<Vec<RunRecord>, Trouble> {
    if run_ids.is_empty() {
        return Ok(Vec::new());
    }
    let runs = format!(
        "SELECT {SUMMARY}, r.workflow, r.start, h.record, r.keep_ms
         FROM unnest($1::text[]) AS w(run_id) JOIN run r USING (run_id) {HEADER}"
    );
    let nodes = "SELECT n.run_id, n.key, n.record
        FROM unnest($1::text[]) AS w(run_id) JOIN node n USING (run_id) WHERE n.key > ''
        ORDER BY n.run_id, n.key";
    let rows = session
        .run(&[
            Call::new(runs).with(run_ids),
            Call::new(nodes).with(run_ids),
        ])
        .await?;
    let mut found = HashMap::new();
    for row in rows.first().into_iter().flatten() {
        let record = record(row)?;
        found.insert(record.summary.run_id.clone(), record);
    }
    for row in rows.get(1).into_iter().flatten() {
        // The run may have been created between the two.
        if let Some(record) = found.get_mut(column::<&str>(row, 0)?) {
            record.nodes.push((column(row, 1)?, column(row, 2)?));
        }
    }
    Ok(run_ids
        .iter()
        .filter_map(|run_id| found.remove(run_id))
        .collect())
}

/// The running ones of a shard.
pub(super) async fn running(session: &mut Lent, shard: u16) -> Result<Vec<RunRecord>, Trouble> {
    let sql = "SELECT run_id FROM run WHERE status = 'RUNNING' AND NOT idle AND shard = $1";
    let rows = session
        .rows(Call::new(sql).with(shard.cast_signed()))
        .await?;
    let run_ids: Vec<String> = rows
        .iter()
        .map(|row| column(row, 0))
        .collect::<Result<_, _>>()?;
    records(session, &run_ids).await
}
