//! Deleting what is not to be kept.

use rusqlite::{Connection, params};

use super::{
    Sqlite,
    database::{count, execute, int, number, rows},
};
use crate::{Error, stores::retention};

/// How many runs one transaction deletes: others wait that long to write.
const BATCH: usize = 50;

/// Deletes runs, answers and content.
pub(super) async fn sweep(store: &Sqlite, now: u64) -> Result<usize, Error> {
    let mut deleted = 0;
    loop {
        let runs = store.read(move |db| ended(db, now)).await?;
        if runs.is_empty() {
            break;
        }
        deleted += runs.len();
        store
            .write(move |db, _| runs.iter().try_for_each(|run| delete(db, run)))
            .await?;
    }
    let before = int(now.saturating_sub(retention::ANSWERS));
    let sql = "DELETE FROM signal WHERE number IN
               (SELECT number FROM signal WHERE answered_at <= ?1 LIMIT ?2)";
    while store
        .write(move |db, _| execute(db, sql, params![before, count(BATCH)]))
        .await?
        == BATCH
    {}
    sweep_content(store, int(now.saturating_sub(retention::UNNAMED))).await?;
    Ok(deleted)
}

/// Runs whose time is over, and those that came before the last ones.
fn ended(db: &Connection, now: u64) -> Result<Vec<String>, Error> {
    let sql = "SELECT run_id FROM run WHERE delete_at <= ?1 LIMIT ?2";
    let runs = rows(db, sql, params![int(now), count(BATCH)], |row| {
        Ok(row.get(0)?)
    })?;
    if !runs.is_empty() {
        return Ok(runs);
    }
    let sql = "SELECT r.run_id FROM (
                   SELECT rowid AS id, keep_last,
                       row_number() OVER (PARTITION BY owner, tag ORDER BY submitted_at DESC) AS place
                   FROM run WHERE keep_last > 0 AND ended_at IS NOT NULL
               ) o JOIN run r ON r.rowid = o.id WHERE o.place > o.keep_last LIMIT ?1";
    rows(db, sql, [count(BATCH)], |row| Ok(row.get(0)?))
}

fn delete(db: &Connection, run_id: &String) -> Result<(), Error> {
    let sql = "SELECT shard, max(seq) FROM event WHERE run_id = ?1 GROUP BY shard";
    for (shard, seq) in rows(db, sql, [run_id], |row| {
        Ok((row.get::<_, i64>(0)?, number(row, 1)?))
    })? {
        let sql = "UPDATE shard SET deleted_seq = max(deleted_seq, ?2) WHERE shard = ?1";
        execute(db, sql, params![shard, int(seq)])?;
    }
    for sql in [
        "DELETE FROM event WHERE run_id = ?1",
        "DELETE FROM node WHERE run_id = ?1",
        "DELETE FROM approval WHERE run_id = ?1",
        "DELETE FROM timer WHERE run_id = ?1",
        "DELETE FROM signal WHERE run_id = ?1",
        "DELETE FROM run_label WHERE run_id = ?1",
        "DELETE FROM idempotency WHERE run_id = ?1",
        "DELETE FROM blob_use WHERE run_id = ?1",
        "DELETE FROM run WHERE run_id = ?1",
    ] {
        execute(db, sql, [run_id])?;
    }
    Ok(())
}

/// Deletes content that nobody names, page by page.
async fn sweep_content(store: &Sqlite, before: i64) -> Result<(), Error> {
    let mut after = (i64::MIN, String::new());
    loop {
        let from = after.clone();
        let page = store
            .read(move |db| {
                let sql =
                    "SELECT put_at, id FROM blob WHERE (put_at, id) > (?1, ?2) AND put_at <= ?3
                           ORDER BY put_at, id LIMIT 5000";
                rows(db, sql, params![from.0, from.1, before], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })
            })
            .await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.clone();
        let unnamed = store
            .read(move |db| {
                let ids = page.into_iter().map(|(_, id)| id);
                let kept: Result<Vec<_>, Error> = ids
                    .filter_map(|id| match is_named(db, &id) {
                        Ok(true) => None,
                        Ok(false) => Some(Ok(id)),
                        Err(error) => Some(Err(error)),
                    })
                    .collect();
                kept
            })
            .await?;
        for batch in unnamed.chunks(BATCH) {
            let batch = batch.to_vec();
            let delete = move |db: &Connection, id: &String| {
                if !is_named(db, id)? {
                    let sql = "DELETE FROM blob WHERE id = ?1 AND put_at <= ?2";
                    execute(db, sql, params![id, before])?;
                }
                Ok(())
            };
            store
                .write(move |db, _| batch.iter().try_for_each(|id| delete(db, id)))
                .await?;
        }
    }
}

fn is_named(db: &Connection, id: &str) -> Result<bool, Error> {
    let sql =
        "SELECT 1 FROM blob_use WHERE blob = ?1 UNION ALL SELECT 1 FROM version WHERE content = ?1
               UNION ALL SELECT 1 FROM version WHERE whole = ?1 LIMIT 1";
    Ok(super::database::first(db, sql, [id], |_| Ok(()))?.is_some())
}
