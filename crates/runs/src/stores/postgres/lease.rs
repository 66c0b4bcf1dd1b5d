//! Which runner has which shards.

use std::{sync::Arc, time::Duration};

use super::{
    call::{Call, Trouble, column, number, shard},
    commit::AGAIN,
    notify,
    pool::{Lent, Pool},
};
use crate::{Changes, Error, ShardLease, share::share};

/// The lock that one runner changes ownership under.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310577388471021)";

/// The shards of leases.
pub(super) fn shards(leases: &[ShardLease]) -> Vec<i16> {
    leases
        .iter()
        .map(|lease| lease.shard.cast_signed())
        .collect()
}

/// Renews the lease of a runner, and brings it to its share.
pub(super) async fn lease(
    pool: &Arc<Pool>,
    own: u64,
    runner: &str,
    ttl: Duration,
) -> Result<(Vec<ShardLease>, Changes), Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let mut session = pool.session().await?;
        if let Some(held) = renew(&mut session, runner, ttl).await? {
            return Ok((held, Changes::default()));
        }
        match try_lease(&mut session, own, runner, ttl).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            leases => return Ok(leases?),
        }
    }
}

/// Renews a lease that has not ended, in one statement: what it holds, if that is its share.
async fn renew(
    session: &mut Lent,
    runner: &str,
    ttl: Duration,
) -> Result<Option<Vec<ShardLease>>, Trouble> {
    let sql = "
        WITH renewed AS (
            UPDATE runner SET expires_at = clock_timestamp() + $2 * interval '1 millisecond'
            WHERE name = $1 AND expires_at > clock_timestamp()
            RETURNING set_config('synchronous_commit', 'off', true)
        )
        SELECT s.shard, s.epoch, s.last_seq, (SELECT count(*) FROM renewed),
            (SELECT array_agg(r.name) FROM runner r WHERE r.expires_at > clock_timestamp())
        FROM shard s WHERE s.runner = $1 ORDER BY s.shard";
    let call = Call::new(sql).with(runner).with(ttl.as_secs_f64() * 1000.0);
    let rows = session.rows(call).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let alive: Vec<String> = column::<Option<_>>(first, 4)?.unwrap_or_default();
    let whole = number(first, 3)? == 1 && rows.len() == share(&alive, runner);
    let held = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(whole.then_some(held))
}

async fn try_lease(
    session: &mut Lent,
    own: u64,
    runner: &str,
    ttl: Duration,
) -> Result<(Vec<ShardLease>, Changes), Trouble> {
    let renew = "INSERT INTO runner (name, expires_at)
        VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
        ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at";
    // The clock of the database is the one that all runners go by.
    let rows = session
        .run(&[
            Call::plain("BEGIN; SET LOCAL synchronous_commit = off"),
            Call::new(LOCK),
            Call::new("DELETE FROM runner WHERE expires_at <= clock_timestamp()"),
            Call::new(renew)
                .with(runner)
                .with(ttl.as_secs_f64() * 1000.0),
            Call::new("SELECT name FROM runner"),
            owned(runner),
        ])
        .await?;
    let rows_of = |place: usize| rows.get(place).into_iter().flatten();
    let alive: Vec<String> = rows_of(4)
        .map(|row| column(row, 0))
        .collect::<Result<_, _>>()?;
    let mut held: Vec<ShardLease> = rows_of(5).map(read).collect::<Result<_, _>>()?;
    let share = share(&alive, runner);
    let given = held.split_off(share.min(held.len()));
    let mut changes = Changes::default();
    let mut calls = Vec::new();
    if !given.is_empty() {
        calls.push(give_up(&given, &mut changes));
    }
    let more = i64::try_from(share - held.len()).unwrap_or(0);
    // Who takes queued runs of a shard holds its row's key: this waits until they are marked.
    let take = "UPDATE shard SET runner = $1, epoch = epoch + 1 WHERE shard IN (
        SELECT s.shard FROM shard s
        WHERE s.runner IS NULL OR NOT EXISTS (SELECT 1 FROM runner r WHERE r.name = s.runner)
        ORDER BY s.shard LIMIT $2 FOR UPDATE OF s)";
    let taken = calls.len() + 2;
    if more > 0 {
        // An epoch that was given is never given again; a renewal may be lost.
        calls.push(Call::plain("SET LOCAL synchronous_commit = on"));
        calls.push(Call::new(take).with(runner).with(more));
        calls.push(owned(runner));
    }
    calls.extend(notify(changes, own));
    calls.push(Call::plain("COMMIT"));
    let rows = session.run(&calls).await?;
    if more > 0 {
        let rows = rows.get(taken).into_iter().flatten();
        held = rows.map(read).collect::<Result<_, _>>()?;
    }
    Ok((held, changes))
}

fn owned(runner: &str) -> Call<'_> {
    let sql = "SELECT shard, epoch, last_seq FROM shard WHERE runner = $1 ORDER BY shard";
    Call::new(sql).with(runner)
}

fn read(row: &tokio_postgres::Row) -> Result<ShardLease, Error> {
    Ok(ShardLease {
        shard: shard(row, 0)?,
        epoch: number(row, 1)?,
        last_seq: number(row, 2)?,
    })
}

fn give_up(leases: &[ShardLease], changes: &mut Changes) -> Call<'static> {
    for lease in leases {
        changes.in_inbox(lease.shard);
    }
    Call::new("UPDATE shard SET runner = NULL WHERE shard = ANY($1)").with(shards(leases))
}

/// Gives all shards of a runner up.
pub(super) async fn release(pool: &Arc<Pool>, own: u64, runner: &str) -> Result<Changes, Error> {
    let mut session = pool.session().await?;
    let rows = session
        .run(&[Call::plain("BEGIN"), Call::new(LOCK), owned(runner)])
        .await?;
    let held: Vec<ShardLease> = rows
        .get(2)
        .into_iter()
        .flatten()
        .map(read)
        .collect::<Result<_, _>>()?;
    let mut changes = Changes::default();
    let mut calls = vec![
        give_up(&held, &mut changes),
        Call::new("DELETE FROM runner WHERE name = $1").with(runner),
    ];
    calls.extend(notify(changes, own));
    calls.push(Call::plain("COMMIT"));
    session.run(&calls).await?;
    Ok(changes)
}
