//! New runs.

use rusqlite::{Connection, params};

use super::{
    blobs,
    database::{execute, first, int},
};
use crate::{
    Changes, CreateOutcome, Error, NewRun, clock, shard_of,
    stores::admission::{full, other_request},
};

/// Creates a run for a door.
pub(super) fn create(
    db: &Connection,
    run: &NewRun,
    max_queued: u64,
    changes: &mut Changes,
) -> Result<CreateOutcome, Error> {
    if let Some((key, fingerprint)) = &run.idempotency {
        let sql = "SELECT fingerprint, run_id FROM idempotency WHERE owner = ?1 AND key = ?2";
        let known = first(db, sql, [&run.owner, key], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        if let Some((known, run_id)) = known {
            return match known == *fingerprint {
                true => Ok(CreateOutcome::Existing(run_id)),
                false => Err(other_request(key)),
            };
        }
    }
    let sql = "SELECT 1 FROM run WHERE run_id = ?1";
    if first(db, sql, [&run.run_id], |_| Ok(()))?.is_some() {
        return Ok(CreateOutcome::Existing(run.run_id.clone()));
    }
    if max_queued > 0 {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM run WHERE status = 'QUEUED' LIMIT ?1)";
        let queued = first(db, sql, [int(max_queued)], |row| Ok(row.get::<_, i64>(0)?))?;
        if queued.unwrap_or(0) >= int(max_queued) {
            return Err(full(max_queued));
        }
    }
    insert(db, run, changes)?;
    Ok(CreateOutcome::Created)
}

/// Stores a run that is not known; a known one stays as it is.
pub(super) fn insert(db: &Connection, run: &NewRun, changes: &mut Changes) -> Result<(), Error> {
    let shard = shard_of(&run.run_id);
    let now = int(clock::now());
    let labels = serde_json::to_string(&run.labels).unwrap_or_default();
    let parent = run.parent.as_ref();
    let inserted = execute(
        db,
        "INSERT INTO run (run_id, shard, owner, submitted_by, tag, base_kind, base_ref, tags_snapshot,
             labels, workflow, start, priority, parent_run, parent_key, keep_ms, keep_last, status, submitted_at, idle)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 'QUEUED', ?17, 0)
         ON CONFLICT DO NOTHING",
        params![
            run.run_id,
            shard,
            run.owner,
            run.submitted_by,
            run.tag,
            run.base.0,
            run.base.1,
            run.tags_snapshot.to_string(),
            labels,
            run.workflow,
            run.start,
            run.priority,
            parent.map(|parent| &parent.0),
            parent.map(|parent| &parent.1),
            int(run.keep_ms),
            run.keep_last,
            now,
        ],
    )?;
    if inserted == 0 {
        return Ok(());
    }
    for (key, value) in &run.labels {
        let sql =
            "INSERT INTO run_label (key, value, submitted_at, run_id) VALUES (?1, ?2, ?3, ?4)";
        execute(db, sql, params![key, value, now, run.run_id])?;
    }
    if let Some((key, fingerprint)) = &run.idempotency {
        let sql =
            "INSERT INTO idempotency (owner, key, fingerprint, run_id) VALUES (?1, ?2, ?3, ?4)";
        execute(db, sql, params![run.owner, key, fingerprint, run.run_id])?;
    }
    blobs::name_one(db, &run.run_id, &run.workflow)?;
    blobs::name(db, &run.run_id, &[&run.start])?;
    if let Some((header, nodes)) = &run.forked {
        put_record(db, &run.run_id, "", header, Some("[]"))?;
        blobs::name(db, &run.run_id, &[header])?;
        for (key, record) in nodes {
            put_record(db, &run.run_id, key, record, None)?;
            blobs::name(db, &run.run_id, &[record])?;
        }
    }
    changes.in_queue(shard);
    Ok(())
}

/// Stores a node record; the header has the empty key.
pub(super) fn put_record(
    db: &Connection,
    run_id: &str,
    key: &str,
    record: &[u8],
    active: Option<&str>,
) -> Result<(), Error> {
    execute(
        db,
        "INSERT INTO node (run_id, key, record, active) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (run_id, key) DO UPDATE SET record = ?3, active = ?4",
        params![run_id, key, record, active],
    )?;
    Ok(())
}
