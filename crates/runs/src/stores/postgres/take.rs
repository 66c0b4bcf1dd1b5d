//! Which queued runs start next.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    call::{Call, Trouble, column, count, int},
    commit::AGAIN,
    load,
    pool::{Lent, Pool},
};
use crate::{
    Error, OwnerLimits, SHARDS, ShardLease, StoredRun, clock,
    stores::find::{HEADER_OF_EACH, SUMMARY},
};

/// What is known of earlier looks.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Whose runs were looked at last, by rank: the next owner begins.
    last: HashMap<i16, String>,
    /// Whether there were more queued runs than were taken.
    many: bool,
}

/// The most owners that are looked at.
const OWNERS: i32 = 4096;
/// Ranks are smaller.
const RANKS: i16 = 8;

/// One statement chooses queued runs, and with [`MARK`] marks them and reads them. `$1` is the most, `$2` the
/// epochs of the shards, `$3` the last owner that was served of each rank, `$4` the time, `$5` the owners who are
/// left out, `$6` how many runs an owner may have under way, `$7` how many owners are looked at. `$8` is false:
/// written out it would be made another condition, which is not that of the index.
///
/// - `pair`: each rank and owner with queued runs, by steps along the index.
/// - `turn`: in whose turn it is, and how many runs of each are looked at; `seen` is the last one.
/// - `queue`: child runs first, since their parents wait for them; they are not limited.
/// - `picked`: one of each owner, then the next one of each.
const TAKE: &str = "
    WITH RECURSIVE pair AS (
        (SELECT rank, owner, 1 AS place FROM run WHERE status = 'QUEUED' ORDER BY rank, owner LIMIT 1)
        UNION ALL
        SELECT n.rank, n.owner, p.place + 1 FROM pair p, LATERAL (
            SELECT rank, owner FROM run r
            WHERE r.status = 'QUEUED' AND (r.rank, r.owner) > (p.rank, p.owner) ORDER BY rank, owner LIMIT 1
        ) AS n WHERE p.place < $7
    ), ordered AS (
        SELECT p.rank, p.owner, l.later, count(*) OVER (PARTITION BY p.rank) AS owners,
            row_number() OVER (PARTITION BY p.rank ORDER BY l.later, p.owner) AS place
        FROM pair p, LATERAL (SELECT coalesce(p.owner <= ($3::text[])[p.rank + 1], false) AS later) AS l
        WHERE NOT p.owner = ANY($5::text[])
    ), turn AS MATERIALIZED (
        SELECT rank, owner, later, place = $1 AND owners > $1 AS seen, CASE WHEN owners <= 4 THEN $1
            ELSE least($1, greatest(8, (2 * $1 + owners - 1) / owners)) END AS most
        FROM ordered WHERE place <= $1
    ), room AS MATERIALIZED (
        SELECT o.owner, $6 - (SELECT count(*) FROM (
            SELECT 1 FROM run r WHERE r.owner = o.owner AND r.started_at IS NOT NULL AND r.ended_at IS NULL
                AND r.parent_run IS NULL LIMIT $6) AS under_way) AS runs
        FROM (SELECT DISTINCT owner FROM turn WHERE $6::int8 IS NOT NULL) AS o
    ), queue AS (
        SELECT t.rank, t.owner, t.later, c.run_id, c.shard, c.child,
            row_number() OVER (PARTITION BY t.rank, t.owner ORDER BY c.child DESC, c.submitted_at, c.run_id)
                AS number,
            count(*) FILTER (WHERE NOT c.child) OVER (PARTITION BY t.owner
                ORDER BY t.rank, c.child DESC, c.submitted_at, c.run_id) AS begun
        FROM turn t, LATERAL (
            (SELECT r.run_id, r.shard, true AS child, r.submitted_at FROM run r
             WHERE r.status = 'QUEUED' AND r.rank = t.rank AND r.owner = t.owner AND (r.parent_run IS NULL) = $8
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
    )";

/// The same where no more are queued than are taken, which is how it is mostly: without limits. All of
/// them are taken; if there are more, none is.
const TAKE_FEW: &str = "
    WITH few AS MATERIALIZED (
        SELECT r.run_id, r.shard, r.rank, r.owner, r.parent_run IS NOT NULL AS child, r.submitted_at
        FROM run r WHERE r.status = 'QUEUED' ORDER BY r.rank, r.owner LIMIT $1::int8 + 1
    ), turn AS MATERIALIZED (
        SELECT NULL::int2 AS rank, NULL::text AS owner, count(*) > $1 AS many, NULL::bool AS seen FROM few
    ), queue AS (
        SELECT f.run_id, f.shard, f.rank, f.owner,
            coalesce(f.owner <= ($3::text[])[f.rank + 1], false) AS later,
            row_number() OVER (PARTITION BY f.rank, f.owner ORDER BY f.child DESC, f.submitted_at, f.run_id)
                AS number
        FROM few f WHERE ($2::int8[])[f.shard + 1] IS NOT NULL AND NOT f.owner = ANY($5::text[])
            AND NOT (SELECT many FROM turn)
    ), picked AS MATERIALIZED (
        SELECT q.run_id, q.shard, row_number() OVER (ORDER BY q.rank, q.number, q.later, q.owner) AS place
        FROM queue q
    )";

/// What both do with the runs that they picked.
///
/// - `held`: whoever takes a shard over waits until what is taken from it is marked. Commits do not wait.
/// - `marked`: the status is compared as no index has it. Else a planner that believes the queue to be short
///   reads all of it for each run that is picked.
/// - `quick`: a mark that is lost is made again, and the first commit of the run comes after it.
const MARK: &str = "
    held AS MATERIALIZED (
        SELECT s.shard FROM shard s
        WHERE s.shard IN (SELECT p.shard FROM picked p) AND s.epoch = ($2::int8[])[s.shard + 1]
        ORDER BY s.shard FOR KEY SHARE OF s
    ), quick AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true)
    ), marked AS (
        UPDATE run r SET status = 'RUNNING', started_at = $4, idle = false
        FROM picked p, held h, quick
        WHERE r.run_id = p.run_id AND h.shard = p.shard AND r.status || '' = 'QUEUED' RETURNING r.*, p.place
    )";

/// Takes queued runs.
pub(super) async fn take(
    pool: &Arc<Pool>,
    leases: &[ShardLease],
    limits: &OwnerLimits,
    max: usize,
    served: &Mutex<Served>,
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
    limits: &OwnerLimits,
    max: usize,
    served: &Mutex<Served>,
) -> Result<Vec<StoredRun>, Trouble> {
    let mut epochs: Vec<Option<i64>> = vec![None; usize::from(SHARDS)];
    for lease in leases {
        if let Some(epoch) = epochs.get_mut(usize::from(lease.shard)) {
            *epoch = Some(int(lease.epoch));
        }
    }
    let limit = (limits.max_running_runs > 0).then_some(i64::from(limits.max_running_runs));
    let (last, many): (Vec<Option<String>>, bool) = {
        let served = served.lock();
        let last = (0..RANKS).map(|rank| served.last.get(&rank).cloned());
        let many = served.many || limit.is_some() || !limits.left_out.is_empty();
        (last.collect(), many)
    };
    let now = int(clock::now());
    let base = |sql: &'static str, many: &'static str| {
        let sql = format!(
            "{sql}, {MARK}
            SELECT {SUMMARY}, r.workflow, r.start, h.record, r.keep_ms, r.rank, s.seen, {many}
            FROM (SELECT array_agg(rank || ' ' || owner) AS seen FROM turn WHERE turn.seen) AS s
            LEFT JOIN marked r ON true {HEADER_OF_EACH} ORDER BY r.place"
        );
        let call = Call::new(sql).with(count(max)).with(epochs.clone());
        call.with(last.clone()).with(now).with(&limits.left_out)
    };
    let mut rows = Vec::new();
    let mut full = many;
    if !many {
        let call = base(TAKE_FEW, "(SELECT many FROM turn)");
        rows = session.rows(call).await?;
        full = rows.first().map_or(Ok(false), |row| column(row, 22))?;
    }
    if full {
        let call = base(TAKE, "false").with(limit);
        rows = session.rows(call.with(OWNERS).with(false)).await?;
    }
    let mut next = HashMap::new();
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
        next.insert(column::<i16>(row, 20)?, record.summary.owner.clone());
        if !record.header.is_empty() {
            forks.push(record.summary.run_id.clone());
        }
        taken.push(record);
    }
    {
        let mut served = served.lock();
        served.last.extend(next);
        served.many = full && taken.len() >= max;
    }
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
