//! Which queued runs start next.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    call::{Call, Trouble, column, count, int},
    commit::AGAIN,
    lease, load,
    pool::{Lent, Pool},
};
use crate::{
    Error, OwnerLimits, ShardLease, StoredRun, clock,
    turns::{OwnersRuns, in_turn, look_ahead},
};

/// Whose runs were looked at last, by rank: the next owner begins.
pub(super) type LastServed = HashMap<i16, String>;

/// The most owners that are looked at.
const OWNERS: i64 = 4096;

/// Each pair of a rank and an owner with queued runs, by steps along the index.
const WAITING: &str = "
    WITH RECURSIVE pair AS (
        (SELECT rank, owner, 1 AS place FROM run WHERE status = 'QUEUED' ORDER BY rank, owner LIMIT 1)
        UNION ALL
        SELECT n.rank, n.owner, p.place + 1 FROM pair p, LATERAL (
            SELECT rank, owner FROM run r
            WHERE r.status = 'QUEUED' AND (r.rank, r.owner) > (p.rank, p.owner) ORDER BY rank, owner LIMIT 1
        ) AS n WHERE p.place < $1
    ) SELECT rank, owner FROM pair";

/// Takes queued runs.
pub(super) async fn take(
    pool: &Arc<Pool>,
    leases: &[ShardLease],
    limits: OwnerLimits,
    max: usize,
    served: &Mutex<LastServed>,
) -> Result<Vec<StoredRun>, Error> {
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
    let mut ranks: BTreeMap<i16, Vec<String>> = BTreeMap::new();
    for row in session
        .rows(Call::new(WAITING).with(i32::try_from(OWNERS).unwrap_or(i32::MAX)))
        .await?
    {
        ranks
            .entry(column(&row, 0)?)
            .or_default()
            .push(column(&row, 1)?);
    }
    if ranks.is_empty() || max == 0 || leases.is_empty() {
        return Ok(Vec::new());
    }
    // Whoever takes a shard over waits until what was taken from it is marked.
    let held = "SELECT s.shard FROM unnest($1::int2[], $2::int8[]) AS w(shard, epoch)
        JOIN shard s ON s.shard = w.shard AND s.epoch = w.epoch ORDER BY s.shard FOR SHARE OF s";
    let epochs: Vec<i64> = leases.iter().map(|lease| int(lease.epoch)).collect();
    let rows = session
        .run(&[
            // A mark that is lost is made again, and the first commit of the run comes after it.
            Call::plain("BEGIN; SET LOCAL synchronous_commit = off"),
            Call::new(held).with(lease::shards(leases)).with(epochs),
        ])
        .await?;
    let shards = rows.get(1).into_iter().flatten().map(|row| column(row, 0));
    let shards: Vec<i16> = shards.collect::<Result<_, _>>()?;
    let mut take = Take {
        session,
        shards,
        limit: (limits.max_running_runs > 0).then_some(i64::from(limits.max_running_runs)),
        room: HashMap::new(),
    };
    let mut taken = Vec::new();
    for (rank, mut owners) in ranks {
        let left = max - taken.len();
        if left == 0 {
            break;
        }
        if let Some(last) = served.lock().get(&rank) {
            let begin = owners.partition_point(|owner| owner <= last);
            let begin = begin % owners.len();
            owners.rotate_left(begin);
        }
        owners.truncate(left);
        let last_seen = owners.last().cloned();
        let (queues, children) = take.queues(rank, owners, left).await?;
        let owner_of: HashMap<String, String> = queues
            .iter()
            .flat_map(|queue| {
                queue
                    .runs
                    .iter()
                    .map(|run| (run.clone(), queue.owner.clone()))
            })
            .collect();
        let (runs, last) = in_turn(queues, left);
        if let Some(last) = last.or(last_seen) {
            served.lock().insert(rank, last);
        }
        for run in runs {
            if !children.contains(&run)
                && let Some(room) = owner_of
                    .get(&run)
                    .and_then(|owner| take.room.get_mut(owner))
            {
                *room -= 1;
            }
            taken.push(run);
        }
    }
    let now = int(clock::now());
    let mark = "UPDATE run SET status = 'RUNNING', started_at = $2, idle = false
        WHERE run_id = ANY($1) AND status = 'QUEUED'";
    session
        .run(&[
            Call::new(mark).with(taken.clone()).with(now),
            Call::plain("COMMIT"),
        ])
        .await?;
    load::records(session, &taken).await
}

struct Take<'a> {
    session: &'a mut Lent,
    shards: Vec<i16>,
    limit: Option<i64>,
    /// How many runs more of each owner may be under way.
    room: HashMap<String, i64>,
}

impl Take<'_> {
    /// Runs of owners that may be taken, and which of them are child runs.
    async fn queues(
        &mut self,
        rank: i16,
        owners: Vec<String>,
        max: usize,
    ) -> Result<(Vec<OwnersRuns>, HashSet<String>), Trouble> {
        self.find_room(&owners).await?;
        let look_ahead = count(look_ahead(owners.len(), max));
        let room = |owner: &String| self.room.get(owner).copied().unwrap_or(look_ahead);
        let most: Vec<i64> = owners
            .iter()
            .map(|owner| room(owner).clamp(0, look_ahead))
            .collect();
        let sql = "
            SELECT w.place, c.run_id, c.child FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS w(owner, most, place),
            LATERAL (
                (SELECT r.run_id, true AS child, r.submitted_at FROM run r
                 WHERE r.status = 'QUEUED' AND r.rank = $3 AND r.owner = w.owner AND (r.parent_run IS NULL) = false
                     AND r.shard = ANY($4) ORDER BY r.submitted_at, r.run_id LIMIT $5)
                UNION ALL
                (SELECT r.run_id, false, r.submitted_at FROM run r
                 WHERE r.status = 'QUEUED' AND r.rank = $3 AND r.owner = w.owner AND (r.parent_run IS NULL) = true
                     AND r.shard = ANY($4) ORDER BY r.submitted_at, r.run_id LIMIT w.most)
            ) AS c ORDER BY w.place, c.child DESC, c.submitted_at, c.run_id";
        let call = Call::new(sql).with(owners.clone()).with(most).with(rank);
        let call = call.with(self.shards.clone()).with(look_ahead);
        let mut queues: Vec<OwnersRuns> = owners
            .into_iter()
            .map(|owner| OwnersRuns {
                owner,
                runs: Vec::new(),
            })
            .collect();
        let mut children = HashSet::new();
        for row in self.session.rows(call).await? {
            let run: String = column(&row, 1)?;
            if column(&row, 2)? {
                children.insert(run.clone());
            }
            let place = usize::try_from(column::<i64>(&row, 0)? - 1).unwrap_or(usize::MAX);
            if let Some(queue) = queues.get_mut(place) {
                queue.runs.push(run);
            }
        }
        Ok((queues, children))
    }

    /// How many runs of owners may be under way, where that is limited.
    async fn find_room(&mut self, owners: &[String]) -> Result<(), Trouble> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let new = owners
            .iter()
            .filter(|owner| !self.room.contains_key(*owner));
        let new: Vec<String> = new.cloned().collect();
        let sql = "SELECT w.owner, (SELECT count(*) FROM (
                SELECT 1 FROM run r WHERE r.owner = w.owner AND r.started_at IS NOT NULL AND r.ended_at IS NULL
                    AND r.parent_run IS NULL LIMIT $2) AS under_way)
            FROM unnest($1::text[]) AS w(owner)";
        for row in self
            .session
            .rows(Call::new(sql).with(new).with(limit))
            .await?
        {
            let under_way: i64 = column(&row, 1)?;
            self.room.insert(column(&row, 0)?, limit - under_way);
        }
        Ok(())
    }
}
