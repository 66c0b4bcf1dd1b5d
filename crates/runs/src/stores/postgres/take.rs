//! Which queued runs start next.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    call::{Call, Trouble, column, count, int},
    commit::AGAIN,
    load,
    pool::{Lent, Pool},
};
use crate::{Error, OwnerLimits, SHARDS, ShardLease, StoredRun, clock, stores::find::SUMMARY};

/// Whose runs were looked at last, by rank: the next owner begins.
pub(super) type LastServed = HashMap<i16, String>;

/// The most owners that are looked at.
const OWNERS: i32 = 4096;
/// Ranks are smaller.
const RANKS: i16 = 8;

/// One statement chooses queued runs, marks them and reads them. `$1` is the most, `$2` the epochs of the
/// shards, `$3` the last owner that was served of each rank, `$4` how many runs an owner may have under way,
/// `$5` the time, `$6` how many owners are looked at, `$7` is false: written out it would be made another
/// condition, which is not that of the index.
///
/// - `pair`: each rank and owner with queued runs, by steps along the index.
/// - `turn`: in whose turn it is, and how many runs of each are looked at; `seen` is the last one.
/// - `queue`: child runs first, since their parents wait for them; they are not limited.
/// - `picked`: one of each owner, then the next one of each.
/// - `held`: whoever takes a shard over waits until what is taken from it is marked. Commits do not wait.
/// - `quick`: a mark that is lost is made again, and the first commit of the run comes after it.
const TAKE: &str = "
    WITH RECURSIVE pair AS (
        (SELECT rank, owner, 1 AS place FROM run WHERE status = 'QUEUED' ORDER BY rank, owner LIMIT 1)
        UNION ALL
        SELECT n.rank, n.owner, p.place + 1 FROM pair p, LATERAL (
            SELECT rank, owner FROM run r
            WHERE r.status = 'QUEUED' AND (r.rank, r.owner) > (p.rank, p.owner) ORDER BY rank, owner LIMIT 1
        ) AS n WHERE p.place < $6
    ), ordered AS (
        SELECT p.rank, p.owner, l.later, count(*) OVER (PARTITION BY p.rank) AS owners,
            row_number() OVER (PARTITION BY p.rank ORDER BY l.later, p.owner) AS place
        FROM pair p, LATERAL (SELECT coalesce(p.owner <= ($3::text[])[p.rank + 1], false) AS later) AS l
    ), turn AS MATERIALIZED (
        SELECT rank, owner, later, place = $1 AND owners > $1 AS seen, CASE WHEN owners <= 4 THEN $1
            ELSE least($1, greatest(8, (2 * $1 + owners - 1) / owners)) END AS most
        FROM ordered WHERE place <= $1
    ), room AS MATERIALIZED (
        SELECT o.owner, $4 - (SELECT count(*) FROM (
            SELECT 1 FROM run r WHERE r.owner = o.owner AND r.started_at IS NOT NULL AND r.ended_at IS NULL
                AND r.parent_run IS NULL LIMIT $4) AS under_way) AS runs
        FROM (SELECT DISTINCT owner FROM turn WHERE $4::int8 IS NOT NULL) AS o
    ), queue AS (
        SELECT t.rank, t.owner, t.later, c.run_id, c.shard, c.child,
            row_number() OVER (PARTITION BY t.rank, t.owner ORDER BY c.child DESC, c.submitted_at, c.run_id)
                AS number,
            count(*) FILTER (WHERE NOT c.child) OVER (PARTITION BY t.owner
                ORDER BY t.rank, c.child DESC, c.submitted_at, c.run_id) AS begun
        FROM turn t, LATERAL (
            (SELECT r.run_id, r.shard, true AS child, r.submitted_at FROM run r
             WHERE r.status = 'QUEUED' AND r.rank = t.rank AND r.owner = t.owner AND (r.parent_run IS NULL) = $7
                 AND ($2::int8[])[r.shard + 1] IS NOT NULL ORDER BY r.submitted_at, r.run_id LIMIT t.most)
            UNION ALL
            (SELECT r.run_id, r.shard, false, r.submitted_at FROM run r
             WHERE r.status = 'QUEUED' AND r.rank = t.rank AND r.owner = t.owner AND (r.parent_run IS NULL) = true
                 AND ($2::int8[])[r.shard + 1] IS NOT NULL ORDER BY r.submitted_at, r.run_id LIMIT t.most)
        ) AS c
    ), picked AS MATERIALIZED (
        SELECT q.run_id, q.shard, row_number() OVER (ORDER BY q.rank, q.number, q.later, q.owner) AS place
        FROM queue q LEFT JOIN room USING (owner)
        WHERE q.child OR room.runs IS NULL OR q.begun <= room.runs
        ORDER BY place LIMIT $1
    ), held AS MATERIALIZED (
        SELECT s.shard FROM shard s
        WHERE s.shard IN (SELECT p.shard FROM picked p) AND s.epoch = ($2::int8[])[s.shard + 1]
        ORDER BY s.shard FOR KEY SHARE OF s
    ), quick AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true)
    ), marked AS (
        UPDATE run r SET status = 'RUNNING', started_at = $5, idle = false
        FROM picked p, held h, quick
        WHERE r.run_id = p.run_id AND h.shard = p.shard AND r.status = 'QUEUED' RETURNING r.*, p.place
    )";

/// Takes queued runs.
pub(super) async fn take(
    pool: &Arc<Pool>,
    leases: &[ShardLease],
    limits: OwnerLimits,
    max: usize,
    served: &Mutex<LastServed>,
) -> Result<Vec<StoredRun>, Error> {
    if max == 0 || leases.is_empty() {
        return Ok(Vec::new());
    }
    let mut tried = 0;
    loop {
        tried += 1;
        let mut session = pool.session().await?;
        match try_take(&mut session, leases, limits, max, served).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            taken => return Ok(taken?),
        }
    }
}

async fn try_take(
    session: &mut Lent,
    leases: &[ShardLease],
    limits: OwnerLimits,
    max: usize,
    served: &Mutex<LastServed>,
) -> Result<Vec<StoredRun>, Trouble> {
    let mut epochs: Vec<Option<i64>> = vec![None; usize::from(SHARDS)];
    for lease in leases {
        if let Some(epoch) = epochs.get_mut(usize::from(lease.shard)) {
            *epoch = Some(int(lease.epoch));
        }
    }
    let last: Vec<Option<String>> = {
        let served = served.lock();
        (0..RANKS).map(|rank| served.get(&rank).cloned()).collect()
    };
    let limit = (limits.max_running_runs > 0).then_some(i64::from(limits.max_running_runs));
    let sql = format!(
        "{TAKE}
        SELECT {SUMMARY}, r.workflow, r.start, h.record, r.keep_ms, r.rank, s.seen
        FROM (SELECT array_agg(rank || ' ' || owner) AS seen FROM turn WHERE turn.seen) AS s
        LEFT JOIN marked r ON true LEFT JOIN node h ON h.run_id = r.run_id AND h.key = '' ORDER BY r.place"
    );
    let call = Call::new(sql).with(count(max)).with(epochs).with(last);
    let call = call
        .with(limit)
        .with(int(clock::now()))
        .with(OWNERS)
        .with(false);
    let rows = session.rows(call).await?;
    let mut next = LastServed::new();
    // Those that were looked at in vain are not looked at again before the others.
    if let Some(row) = rows.first() {
        let seen: Option<Vec<String>> = column(row, 21)?;
        for text in seen.into_iter().flatten() {
            if let Some((rank, owner)) = text.split_once(' ') {
                next.insert(rank.parse().unwrap_or_default(), owner.to_owned());
            }
        }
    }
    let (mut taken, mut forks) = (Vec::new(), Vec::new());
    for row in &rows {
        if column::<Option<&str>>(row, 0)?.is_none() {
            continue;
        }
        let record = load::record(row)?;
        next.insert(column(row, 20)?, record.summary.owner.clone());
        if !record.header.is_empty() {
            forks.push(record.summary.run_id.clone());
        }
        taken.push(record);
    }
    served.lock().extend(next);
    if !forks.is_empty() {
        // They have records of the runs that they are forks of.
        let mut whole: HashMap<String, StoredRun> = load::records(session, &forks)
            .await?
            .into_iter()
            .map(|record| (record.summary.run_id.clone(), record))
            .collect();
        for record in &mut taken {
            if let Some(whole) = whole.remove(&record.summary.run_id) {
                *record = whole;
            }
        }
    }
    Ok(taken)
}
