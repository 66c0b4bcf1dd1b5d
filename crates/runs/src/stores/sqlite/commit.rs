//! What happened to runs of a shard.

use rusqlite::{Connection, params};

use super::{
    approvals, blobs,
    create::{insert, put_record},
    database::{execute, first, int, maybe_int, number},
    inbox,
};
use crate::{
    Changes, Commit, CommitOutcome, Error, RunChange, clock,
    stores::numbers::{self, Numbers},
};

/// Stores commits, each as a whole.
pub(super) fn commit(
    db: &Connection,
    commits: &[Commit],
    changes: &mut Changes,
) -> Result<Vec<CommitOutcome>, Error> {
    commits.iter().map(|one| store(db, one, changes)).collect()
}

fn store(db: &Connection, commit: &Commit, changes: &mut Changes) -> Result<CommitOutcome, Error> {
    let sql = "SELECT last_seq FROM shard WHERE shard = ?1 AND epoch = ?2";
    let owned = params![commit.shard, int(commit.epoch)];
    let Some(last_seq) = first(db, sql, owned, |row| number(row, 0))? else {
        return Ok(CommitOutcome::Fenced);
    };
    match numbers::check(commit, last_seq)? {
        Numbers::Stored => return Ok(CommitOutcome::Stored),
        Numbers::None => {}
        Numbers::Next(last) => {
            let sql = "UPDATE shard SET last_seq = ?2 WHERE shard = ?1";
            execute(db, sql, params![commit.shard, int(last)])?;
            changes.in_events(commit.shard);
        }
    }
    for run in &commit.runs {
        store_run(db, commit.shard, run, changes)?;
    }
    for number in &commit.outbox_done {
        let sql = "DELETE FROM outbox WHERE shard = ?1 AND number = ?2";
        execute(db, sql, params![commit.shard, int(*number)])?;
    }
    Ok(CommitOutcome::Stored)
}

fn store_run(
    db: &Connection,
    shard: u16,
    run: &RunChange,
    changes: &mut Changes,
) -> Result<(), Error> {
    let now = clock::now();
    execute(
        db,
        "UPDATE run SET status = ?2, error = ?3, started_at = coalesce(?4, started_at), ended_at = ?5,
             delete_at = ?5 + keep_ms, idle = ?6
         WHERE run_id = ?1 AND (status <> ?2 OR idle <> ?6 OR error IS NOT ?3 OR ended_at IS NOT ?5
             OR (?4 IS NOT NULL AND started_at IS NOT ?4))",
        params![
            run.run_id,
            run.status,
            run.error,
            maybe_int(run.started_at),
            maybe_int(run.ended_at),
            run.idle,
        ],
    )?;
    store_records(db, run)?;
    for (last, events) in numbers::ranges(&run.events) {
        execute(
            db,
            "INSERT INTO event (shard, seq, run_id, events, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![shard, int(last), run.run_id, events, int(now)],
        )?;
    }
    for (key, due_at) in &run.timers_set {
        execute(
            db,
            "INSERT INTO timer (run_id, key, shard, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (run_id, key) DO UPDATE SET due_at = ?4",
            params![run.run_id, key, shard, int(*due_at)],
        )?;
    }
    for key in &run.timers_cleared {
        let sql = "DELETE FROM timer WHERE run_id = ?1 AND key = ?2";
        execute(db, sql, [&run.run_id, key])?;
    }
    for approval in &run.approvals_opened {
        approvals::open(db, shard, approval, now)?;
    }
    for key in &run.approvals_closed {
        approvals::close(db, key)?;
    }
    for child in &run.children {
        insert(db, child, changes)?;
    }
    for command in &run.commands {
        // The run may have been deleted.
        inbox::put_if_known(db, command, changes)?;
    }
    for (number, _, answer) in &run.answered {
        inbox::answer(db, *number, answer, now)?;
        changes.answers = true;
    }
    for entry in &run.outbox {
        execute(
            db,
            "INSERT INTO outbox (shard, number, run_id, effect) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (shard, number) DO UPDATE SET run_id = ?3, effect = ?4",
            params![shard, int(entry.number), entry.run_id, entry.effect],
        )?;
    }
    Ok(())
}

fn store_records(db: &Connection, run: &RunChange) -> Result<(), Error> {
    let active = serde_json::to_string(&run.active_nodes).unwrap_or_default();
    put_record(db, &run.run_id, "", &run.header, Some(&active))?;
    for (id, content) in &run.blobs {
        blobs::put(db, id, content)?;
        blobs::name_one(db, &run.run_id, id)?;
    }
    blobs::name(db, &run.run_id, &[&run.header])?;
    for (key, record) in &run.nodes {
        put_record(db, &run.run_id, key, record, None)?;
        blobs::name(db, &run.run_id, &[record])?;
    }
    Ok(())
}
