//! Deleting what is not to be kept.

use std::sync::Arc;

use super::{
    call::{Call, Trouble, column, int},
    commit::AGAIN,
    partitions,
    pool::{Lent, Pool},
};
use crate::{Error, clock, stores::retention};

/// How many runs one transaction deletes.
const BATCH: i64 = 500;
/// How many names of content are looked at in one go.
const NAMES: i64 = 2000;
/// The lock that one process sweeps under.
const LOCK: i64 = 7_310_577_388_471_022;

/// Deletes runs, answers and content, and makes partitions ahead.
pub(super) async fn sweep(pool: &Arc<Pool>, now: u64) -> Result<usize, Error> {
    // The lock lasts as long as this connection, whatever happens.
    let connecting =
        tokio::time::timeout(pool.timeout, pool.config.connect(pool.tls.clone())).await;
    let (client, connection) = connecting.map_err(|_| super::pool::silent())??;
    let work = async {
        let sql = "SELECT pg_try_advisory_lock($1)";
        let alone: bool = client.query_one(sql, &[&LOCK]).await?.try_get(0)?;
        if !alone {
            return Ok(0);
        }
        // Events get their partition by the clock.
        partitions::make(&client, clock::now()).await?;
        let deleted = delete(pool, now).await?;
        partitions::drop_empty(&client, now.min(clock::now())).await?;
        Ok(deleted)
    };
    tokio::select! {
        swept = work => swept,
        ended = connection => Err(match ended {
            Ok(()) => super::pool::silent(),
            Err(error) => error.into(),
        }),
    }
}

async fn delete(pool: &Arc<Pool>, now: u64) -> Result<usize, Error> {
    let mut deleted = 0;
    loop {
        let mut session = pool.session().await?;
        let runs = ended(&mut session, now).await?;
        if runs.is_empty() {
            break;
        }
        deleted += runs.len();
        let mut tried = 0;
        loop {
            tried += 1;
            match delete_runs(&mut session, &runs).await {
                Err(Trouble::Again(_)) if tried < AGAIN => session = pool.session().await?,
                done => break done?,
            }
        }
    }
    let mut session = pool.session().await?;
    let before = int(now.saturating_sub(retention::ANSWERS));
    let sql = "WITH old AS (SELECT number FROM signal WHERE answered_at <= $1 LIMIT 5000),
        gone AS (DELETE FROM signal WHERE number IN (SELECT number FROM old) RETURNING 1)
        SELECT count(*) FROM gone";
    loop {
        let row = session.first(Call::new(sql).with(before)).await?;
        let gone: i64 = row.map_or(Ok(0), |row| column(&row, 0))?;
        if gone < 5000 {
            break;
        }
    }
    delete_content(&mut session, int(now.saturating_sub(retention::UNNAMED))).await?;
    Ok(deleted)
}

/// Runs whose time is over, and those that came before the last ones.
async fn ended(session: &mut Lent, now: u64) -> Result<Vec<String>, Error> {
    let over = Call::new("SELECT run_id FROM run WHERE delete_at <= $1 LIMIT $2");
    let mut rows = session.rows(over.with(int(now)).with(BATCH)).await?;
    if rows.is_empty() {
        let sql = "SELECT run_id FROM (
                SELECT run_id, keep_last, row_number() OVER (PARTITION BY owner, tag ORDER BY submitted_at DESC) AS place
                FROM run WHERE keep_last > 0 AND ended_at IS NOT NULL
            ) AS r WHERE r.place > r.keep_last LIMIT $1";
        rows = session.rows(Call::new(sql).with(BATCH)).await?;
    }
    rows.iter().map(|row| column(row, 0)).collect()
}

async fn delete_runs(session: &mut Lent, runs: &[String]) -> Result<(), Trouble> {
    let mut calls = Vec::new();
    for sql in [
        "DELETE FROM node WHERE run_id = ANY($1)",
        "DELETE FROM approval WHERE run_id = ANY($1)",
        "DELETE FROM timer WHERE run_id = ANY($1)",
        "DELETE FROM signal WHERE run_id = ANY($1)",
        "DELETE FROM run_label WHERE run_id = ANY($1)",
        "DELETE FROM idempotency WHERE run_id = ANY($1)",
        "DELETE FROM blob_use WHERE run_id = ANY($1)",
        "DELETE FROM run WHERE run_id = ANY($1)",
    ] {
        calls.push(Call::new(sql).with(runs));
    }
    // The shards' rows come last, since those who commit wait for them, and in their order, as they take them.
    let events = "
        WITH deleted AS (
            DELETE FROM event WHERE run_id = ANY($1) RETURNING shard, seq
        ), last AS MATERIALIZED (
            SELECT shard, max(seq) AS seq FROM deleted GROUP BY shard
        ), locked AS MATERIALIZED (
            SELECT s.shard FROM shard s WHERE s.shard IN (SELECT shard FROM last) ORDER BY s.shard FOR NO KEY UPDATE
        )
        UPDATE shard s SET deleted_seq = greatest(s.deleted_seq, l.seq)
        FROM last l JOIN locked USING (shard) WHERE s.shard = l.shard";
    calls.push(Call::new(events).with(runs));
    session.transaction(calls).await?;
    Ok(())
}

/// Deletes content that nobody names, page by page.
async fn delete_content(session: &mut Lent, before: i64) -> Result<(), Error> {
    let mut after = (i64::MIN, String::new());
    loop {
        let sql = "SELECT put_at, id FROM blob WHERE (put_at, id) > ($1, $2) AND put_at <= $3
            ORDER BY put_at, id LIMIT $4";
        let call = Call::new(sql).with(after.0).with(after.1.clone());
        let rows = session.rows(call.with(before).with(NAMES)).await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = (column(last, 0)?, column(last, 1)?);
        let ids: Vec<String> = rows
            .iter()
            .map(|row| column(row, 1))
            .collect::<Result<_, _>>()?;
        // One that was put again meanwhile is not that old any more.
        let sql = "DELETE FROM blob b WHERE b.id = ANY($1) AND b.put_at <= $2
            AND NOT EXISTS (SELECT 1 FROM blob_use u WHERE u.blob = b.id)
            AND NOT EXISTS (SELECT 1 FROM version v WHERE v.content = b.id)
            AND NOT EXISTS (SELECT 1 FROM version v WHERE v.whole = b.id)";
        session.rows(Call::new(sql).with(ids).with(before)).await?;
    }
}
