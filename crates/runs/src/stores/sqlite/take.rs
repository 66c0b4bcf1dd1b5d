//! Which queued runs start next.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params};

use super::{
    database::{count, execute, first, int, rows},
    lease, load,
};
use crate::{
    Error, OwnerLimits, ShardLease, StoredRun, clock,
    turns::{OwnersRuns, in_turn, look_ahead},
};

/// Whose run was taken last, by priority: the next owner begins.
pub(super) type LastServed = HashMap<u8, String>;

/// Takes queued runs.
pub(super) fn take(
    db: &Connection,
    leases: &[ShardLease],
    limits: &OwnerLimits,
    max: usize,
    served: &mut LastServed,
) -> Result<Vec<StoredRun>, Error> {
    let mut take = Take {
        db,
        shards: lease::bits(&still_owned(db, leases)?).cast_signed(),
        limit: (limits.max_running_runs > 0).then_some(limits.max_running_runs),
        left_out: &limits.left_out,
        room: HashMap::new(),
    };
    let now = int(clock::now());
    let mut taken = Vec::new();
    for priority in (1..=5).rev() {
        let left = max - taken.len();
        if left == 0 {
            break;
        }
        let owners = take.owners(priority, served.get(&priority), left)?;
        let look_ahead = look_ahead(owners.len(), left);
        let mut queues = Vec::with_capacity(owners.len());
        for owner in owners {
            queues.push(take.queue(priority, owner, look_ahead)?);
        }
        let children: HashSet<String> = queues
            .iter()
            .flat_map(|(_, children)| children.iter().cloned())
            .collect();
        let queues: Vec<OwnersRuns> = queues.into_iter().map(|(queue, _)| queue).collect();
        let owner_of = owners_of(&queues);
        let (runs, last) = in_turn(queues, left);
        if let Some(last) = last {
            served.insert(priority, last);
        }
        for run_id in runs {
            let sql = "UPDATE run SET status = 'RUNNING', started_at = ?2 WHERE run_id = ?1";
            execute(db, sql, params![run_id, now])?;
            if !children.contains(&run_id)
                && let Some(room) = owner_of
                    .get(&run_id)
                    .and_then(|owner| take.room.get_mut(owner))
            {
                *room = room.saturating_sub(1);
            }
            taken.extend(load::record(db, &run_id)?);
        }
    }
    Ok(taken)
}

fn owners_of(queues: &[OwnersRuns]) -> HashMap<String, String> {
    let pairs = queues.iter().flat_map(|queue| {
        queue
            .runs
            .iter()
            .map(|run| (run.clone(), queue.owner.clone()))
    });
    pairs.collect()
}

/// Those that have no other owner by now.
fn still_owned(db: &Connection, leases: &[ShardLease]) -> Result<Vec<ShardLease>, Error> {
    let mut owned = Vec::with_capacity(leases.len());
    for lease in leases {
        let sql = "SELECT 1 FROM shard WHERE shard = ?1 AND epoch = ?2";
        let held = first(db, sql, params![lease.shard, int(lease.epoch)], |_| Ok(()))?;
        owned.extend(held.map(|()| *lease));
    }
    Ok(owned)
}

struct Take<'a> {
    db: &'a Connection,
    shards: i64,
    limit: Option<u32>,
    left_out: &'a [String],
    /// How many runs more of each owner may be under way.
    room: HashMap<String, usize>,
}

impl Take<'_> {
    /// Owners with queued runs, those after the last served one first.
    fn owners(
        &self,
        priority: u8,
        last: Option<&String>,
        max: usize,
    ) -> Result<Vec<String>, Error> {
        let begin = last.map_or("", String::as_str);
        let mut owners = self.owners_between(priority, begin, None, max)?;
        if !begin.is_empty() && owners.len() < max {
            let left = max - owners.len();
            owners.extend(self.owners_between(priority, "", Some(begin), left)?);
        }
        Ok(owners)
    }

    fn owners_between(
        &self,
        priority: u8,
        after: &str,
        upto: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, Error> {
        let mut owners: Vec<String> = Vec::new();
        // An owner without a name is none; the first comes after it.
        let mut after = after.to_owned();
        while owners.len() < max {
            let sql =
                "SELECT owner FROM run WHERE status = 'QUEUED' AND priority = ?1 AND owner > ?2
                       ORDER BY owner LIMIT 1";
            let next = first(self.db, sql, params![priority, after], |row| {
                Ok(row.get::<_, String>(0)?)
            })?;
            let Some(next) = next.filter(|next| upto.is_none_or(|upto| next.as_str() <= upto))
            else {
                break;
            };
            after.clone_from(&next);
            if !self.left_out.contains(&next) {
                owners.push(next);
            }
        }
        Ok(owners)
    }

    /// Runs of an owner that may be taken, and which of them are child runs.
    fn queue(
        &mut self,
        priority: u8,
        owner: String,
        max: usize,
    ) -> Result<(OwnersRuns, Vec<String>), Error> {
        let queued = |own: bool, most: usize| {
            let sql =
                "SELECT run_id FROM run WHERE status = 'QUEUED' AND priority = ?1 AND owner = ?2
                           AND (parent_run IS NULL) = ?3 AND (?4 >> shard) & 1
                       ORDER BY submitted_at, run_id LIMIT ?5";
            let params = params![priority, owner, own, self.shards, count(most)];
            rows(self.db, sql, params, |row| Ok(row.get::<_, String>(0)?))
        };
        let children = queued(false, max)?;
        let mut runs = children.clone();
        let room = match self.limit {
            None => max,
            Some(limit) => match self.room.get(&owner) {
                Some(room) => *room,
                None => {
                    let room = self.room_of(&owner, limit)?;
                    self.room.insert(owner.clone(), room);
                    room
                }
            },
        };
        let most = room.min(max - runs.len());
        if most > 0 {
            runs.extend(queued(true, most)?);
        }
        Ok((OwnersRuns { owner, runs }, children))
    }

    fn room_of(&self, owner: &str, limit: u32) -> Result<usize, Error> {
        let sql =
            "SELECT count(*) FROM (SELECT 1 FROM run WHERE owner = ?1 AND started_at IS NOT NULL
                   AND ended_at IS NULL AND parent_run IS NULL LIMIT ?2)";
        let under_way = first(self.db, sql, params![owner, limit], |row| {
            Ok(row.get::<_, u32>(0)?)
        })?;
        let room = limit.saturating_sub(under_way.unwrap_or(0));
        Ok(usize::try_from(room).unwrap_or(usize::MAX))
    }
}
