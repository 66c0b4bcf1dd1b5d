//! What waits for the owner of a shard: commands, timers, effects.

use rusqlite::{Connection, params};

use super::database::{count, execute, first, int, json, number, rows};
use crate::{
    Changes, Command, CommandAnswer, Error, InboxItem, OutboxEntry, TimerRow, shard_of,
    stores::admission::unknown_run,
};

/// Sends a command for a door.
pub(super) fn send(db: &Connection, command: &Command, changes: &mut Changes) -> Result<(), Error> {
    match put_if_known(db, command, changes)? {
        true => Ok(()),
        false => Err(unknown_run(&command.run_id)),
    }
}

/// Stores a command to a run that is there; `false` when it is not.
pub(super) fn put_if_known(
    db: &Connection,
    command: &Command,
    changes: &mut Changes,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM run WHERE run_id = ?1";
    let known = first(db, sql, [&command.run_id], |_| Ok(()))?.is_some();
    if known {
        put(db, command, changes)?;
    }
    Ok(known)
}

/// Stores a command; nothing happens again to a known one.
pub(super) fn put(db: &Connection, command: &Command, changes: &mut Changes) -> Result<(), Error> {
    let shard = shard_of(&command.run_id);
    let inserted = execute(
        db,
        "INSERT INTO signal (id, shard, run_id, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
        params![
            command.id,
            shard,
            command.run_id,
            command.kind,
            command.body.to_string(),
        ],
    )?;
    if inserted > 0 {
        changes.in_commands(shard);
    }
    Ok(())
}

/// Commands that are not answered.
pub(super) fn waiting(db: &Connection, shards: u64, max: usize) -> Result<Vec<InboxItem>, Error> {
    let sql = "SELECT number, run_id, id, kind, body FROM signal
               WHERE answered_at IS NULL AND (?1 >> shard) & 1 ORDER BY number LIMIT ?2";
    rows(db, sql, params![shards.cast_signed(), count(max)], |row| {
        Ok(InboxItem {
            number: number(row, 0)?,
            command: Command {
                run_id: row.get(1)?,
                id: row.get(2)?,
                kind: row.get(3)?,
                body: json(row, 4)?,
            },
        })
    })
}

/// Notes an answer.
pub(super) fn answer(
    db: &Connection,
    number: u64,
    answer: &CommandAnswer,
    now: u64,
) -> Result<(), Error> {
    let sql = "UPDATE signal SET status = ?2, answer = ?3, answered_at = ?4 WHERE number = ?1";
    let body = answer.body.to_string();
    execute(db, sql, params![int(number), answer.status, body, int(now)])?;
    Ok(())
}

/// The answers that are there.
pub(super) fn answers(
    db: &Connection,
    ids: &[String],
) -> Result<Vec<(String, CommandAnswer)>, Error> {
    let mut found = Vec::new();
    for id in ids {
        let sql = "SELECT status, answer FROM signal WHERE id = ?1 AND answered_at IS NOT NULL";
        let answer = first(db, sql, [id], |row| {
            Ok(CommandAnswer {
                status: row.get(0)?,
                body: json(row, 1)?,
            })
        })?;
        found.extend(answer.map(|answer| (id.clone(), answer)));
    }
    Ok(found)
}

/// Timers that are due, and when the next one is.
pub(super) fn due_timers(
    db: &Connection,
    shards: u64,
    now: u64,
    max: usize,
) -> Result<(Vec<TimerRow>, Option<u64>), Error> {
    let shards = shards.cast_signed();
    let sql = "SELECT run_id, key, due_at FROM timer
               WHERE due_at <= ?2 AND (?1 >> shard) & 1 ORDER BY due_at LIMIT ?3";
    let due = rows(db, sql, params![shards, int(now), count(max)], |row| {
        Ok(TimerRow {
            run_id: row.get(0)?,
            key: row.get(1)?,
            due_at: number(row, 2)?,
        })
    })?;
    let sql =
        "SELECT due_at FROM timer WHERE due_at > ?2 AND (?1 >> shard) & 1 ORDER BY due_at LIMIT 1";
    let next = first(db, sql, params![shards, int(now)], |row| number(row, 0))?;
    // What did not fit is due at once.
    let left = (due.len() == max).then(|| due.last().map(|timer| timer.due_at));
    Ok((due, left.flatten().or(next)))
}

/// Effects that are not noted as carried out.
pub(super) fn outbox(db: &Connection, shard: u16) -> Result<Vec<OutboxEntry>, Error> {
    let sql = "SELECT run_id, number, effect FROM outbox WHERE shard = ?1 ORDER BY number";
    rows(db, sql, [shard], |row| {
        Ok(OutboxEntry {
            run_id: row.get(0)?,
            number: number(row, 1)?,
            effect: row.get(2)?,
        })
    })
}
