//! Which runner has which shards.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::database::{execute, int, number, rows};
use crate::{Changes, Error, SHARDS, ShardLease, clock, hub::bit};

/// How many shards a runner gets, of those that are alive.
pub(super) type Share = fn(&[String], &str) -> usize;

/// The shards of leases, as a set.
pub(super) fn bits(leases: &[ShardLease]) -> u64 {
    leases.iter().fold(0, |bits, lease| bits | bit(lease.shard))
}

/// Forgets the runners of the process before: nobody else has the folder open.
pub(super) fn forget_runners(db: &Connection) -> Result<(), Error> {
    execute(db, "DELETE FROM runner", ())?;
    Ok(())
}

/// Renews the lease of a runner, and brings it to its share.
pub(super) fn lease(
    db: &Connection,
    runner: &str,
    ttl: Duration,
    share: Share,
    changes: &mut Changes,
) -> Result<Vec<ShardLease>, Error> {
    let now = clock::now();
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    execute(db, "DELETE FROM runner WHERE expires_at <= ?1", [int(now)])?;
    execute(
        db,
        "INSERT INTO runner (name, expires_at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET expires_at = ?2",
        params![runner, int(now.saturating_add(ttl))],
    )?;
    let alive: Vec<String> = rows(db, "SELECT name FROM runner", (), |row| Ok(row.get(0)?))?;
    let share = share(&alive, runner);
    let mut owned = owned(db, runner)?;
    for lease in owned.split_off(share.min(owned.len())) {
        give_up(db, lease.shard, changes)?;
    }
    if owned.len() < share {
        take(db, runner, share - owned.len())?;
        return self::owned(db, runner);
    }
    Ok(owned)
}

fn owned(db: &Connection, runner: &str) -> Result<Vec<ShardLease>, Error> {
    let sql = "SELECT shard, epoch, last_seq FROM shard WHERE runner = ?1 ORDER BY shard";
    rows(db, sql, [runner], |row| {
        Ok(ShardLease {
            shard: row.get(0)?,
            epoch: number(row, 1)?,
            last_seq: number(row, 2)?,
        })
    })
}

fn take(db: &Connection, runner: &str, count: usize) -> Result<(), Error> {
    let sql = "UPDATE shard SET runner = ?1, epoch = epoch + 1 WHERE shard IN (
                   SELECT shard FROM shard WHERE runner IS NULL OR runner NOT IN (SELECT name FROM runner)
                   ORDER BY shard LIMIT ?2)";
    let count = i64::try_from(count).unwrap_or(i64::from(SHARDS));
    execute(db, sql, params![runner, count])?;
    Ok(())
}

fn give_up(db: &Connection, shard: u16, changes: &mut Changes) -> Result<(), Error> {
    execute(
        db,
        "UPDATE shard SET runner = NULL WHERE shard = ?1",
        [shard],
    )?;
    changes.in_inbox(shard);
    Ok(())
}

/// Gives all shards of a runner up.
pub(super) fn release(db: &Connection, runner: &str, changes: &mut Changes) -> Result<(), Error> {
    for lease in owned(db, runner)? {
        give_up(db, lease.shard, changes)?;
    }
    execute(db, "DELETE FROM runner WHERE name = ?1", [runner])?;
    Ok(())
}
