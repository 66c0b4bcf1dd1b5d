//! What happened to runs of shards: many runs, few statements.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    approvals, blobs,
    call::{Call, Trouble, count, int, number, shard, text},
    create::{self, Records},
    inbox, listener, notify,
    pool::{Lent, Pool},
};
use crate::{
    Changes, Commit, CommitOutcome, Error, RunChange, clock,
    stores::numbers::{self, Numbers},
};

/// How often a transaction is done again that others were in the way of.
pub(super) const AGAIN: usize = 5;

/// Every shard's row is locked until the transaction ends: a new owner waits for it, and an old one finds its
/// epoch gone. It fails unless each shard is held and its events are the next ones.
const HOLD: &str = "
    WITH given AS (
        SELECT * FROM unnest($1::int2[], $2::int8[], $3::int8[], $4::int8[]) AS g(shard, epoch, first, last)
    ), locked AS MATERIALIZED (
        SELECT shard FROM shard WHERE shard = ANY($1) ORDER BY shard FOR NO KEY UPDATE
    ), moved AS (
        UPDATE shard s SET last_seq = CASE WHEN g.first = 0 THEN s.last_seq ELSE g.last END
        FROM given g JOIN locked l USING (shard)
        WHERE s.shard = g.shard AND s.epoch = g.epoch AND (g.first = 0 OR s.last_seq = g.first - 1)
        RETURNING 1
    )";
/// What fails unless as many shards moved as were given.
const HELD: &str = "SELECT 1 / (count(*) = $1)::int FROM moved";
/// The same, and tells others of changes.
const HELD_AND_TOLD: &str =
    "SELECT 1 / (count(*) = $1)::int, (SELECT pg_notify($2, $3)) FROM moved";

/// Stores commits, each as a whole.
pub(super) async fn commit(
    pool: &Arc<Pool>,
    own: u64,
    commits: &[Commit],
) -> Result<(Vec<CommitOutcome>, Changes), Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let mut session = pool.session().await?;
        match at_once(&mut session, own, commits).await {
            Ok(stored) => return Ok(stored),
            Err(Trouble::NotHeld) => {}
            Err(Trouble::Again(_)) if tried < AGAIN => continue,
            Err(trouble) => return Err(trouble.into()),
        }
        drop(session);
        let mut session = pool.session().await?;
        match one_by_one(&mut session, own, commits).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            stored => return Ok(stored?),
        }
    }
}

/// All of them in one go, which is how it is unless a shard has another owner.
async fn at_once(
    session: &mut Lent,
    own: u64,
    commits: &[Commit],
) -> Result<(Vec<CommitOutcome>, Changes), Trouble> {
    let mut held: (Vec<i16>, Vec<i64>, Vec<i64>, Vec<i64>) = Default::default();
    for commit in commits {
        let numbers = commit
            .runs
            .iter()
            .flat_map(|run| &run.events)
            .map(|(number, _)| *number);
        let (first, last) = numbers.fold((u64::MAX, 0), |(first, last), number| {
            (first.min(number), last.max(number))
        });
        let (first, last) = if last == 0 { (0, 0) } else { (first, last) };
        // Gaps and the like are told apart one by one.
        if first > 0 && numbers::check(commit, first - 1)? != Numbers::Next(last) {
            return Err(Trouble::NotHeld);
        }
        held.0.push(commit.shard.cast_signed());
        held.1.push(int(commit.epoch));
        held.2.push(int(first));
        held.3.push(int(last));
    }
    if held.0.is_empty() {
        return Ok((Vec::new(), Changes::default()));
    }
    let shards = count(held.0.len());
    let hold = Call::new(HOLD)
        .with(held.0)
        .with(held.1)
        .with(held.2)
        .with(held.3);
    let mut calls = Vec::new();
    let changes = write(&mut calls, commits.iter());
    if calls.iter().all(|call| call.beside) {
        let end = match changes.is_empty() {
            true => Call::new(HELD).with(shards),
            false => Call::new(HELD_AND_TOLD)
                .with(shards)
                .with(listener::CHANNEL)
                .with(listener::text(changes, own)),
        };
        session.run(&[hold.joined(calls, end)]).await?;
        return Ok((vec![CommitOutcome::Stored; commits.len()], changes));
    }
    let hold = hold.joined(Vec::new(), Call::new(HELD).with(shards));
    calls.insert(0, hold);
    calls.extend(notify(changes, own));
    session.transaction(calls).await?;
    Ok((vec![CommitOutcome::Stored; commits.len()], changes))
}

/// One after the other: those of another owner are left out.
async fn one_by_one(
    session: &mut Lent,
    own: u64,
    commits: &[Commit],
) -> Result<(Vec<CommitOutcome>, Changes), Trouble> {
    let shards: Vec<i16> = commits
        .iter()
        .map(|commit| commit.shard.cast_signed())
        .collect();
    let lock = "SELECT shard, epoch, last_seq FROM shard WHERE shard = ANY($1) ORDER BY shard FOR NO KEY UPDATE";
    let rows = session
        .run(&[Call::plain("BEGIN"), Call::new(lock).with(shards)])
        .await?;
    let mut states = BTreeMap::new();
    for row in rows.iter().flatten() {
        states.insert(shard(row, 0)?, (number(row, 1)?, number(row, 2)?));
    }
    let mut outcomes = Vec::with_capacity(commits.len());
    let mut all = Changes::default();
    for commit in commits {
        let state = states.get_mut(&commit.shard);
        let Some((_, last_seq)) = state.filter(|(epoch, _)| *epoch == commit.epoch) else {
            outcomes.push(CommitOutcome::Fenced);
            continue;
        };
        outcomes.push(CommitOutcome::Stored);
        let mut calls = Vec::new();
        match numbers::check(commit, *last_seq) {
            Ok(Numbers::Stored) => continue,
            Ok(Numbers::None) => {}
            Ok(Numbers::Next(last)) => {
                *last_seq = last;
                let sql = "UPDATE shard SET last_seq = $2 WHERE shard = $1";
                calls.push(
                    Call::new(sql)
                        .with(commit.shard.cast_signed())
                        .with(int(last)),
                );
            }
            Err(error) => {
                session.roll_back().await?;
                return Err(error.into());
            }
        }
        all.add(write(&mut calls, std::iter::once(commit)));
        session.run(&calls).await?;
    }
    let mut calls: Vec<_> = notify(all, own).into_iter().collect();
    calls.push(Call::plain("COMMIT"));
    session.run(&calls).await?;
    Ok((outcomes, all))
}

/// Adds the statements of commits, and says what they change.
fn write<'a>(
    calls: &mut Vec<Call<'a>>,
    commits: impl Iterator<Item = &'a Commit> + Clone,
) -> Changes {
    let now = clock::now();
    let mut changes = Changes::default();
    let runs: Vec<(u16, &RunChange)> = commits
        .clone()
        .flat_map(|commit| commit.runs.iter().map(|run| (commit.shard, run)))
        .collect();
    if !runs.is_empty() {
        calls.push(update(&runs));
        records(calls, &runs);
    }
    events(calls, &runs, now, &mut changes);
    timers(calls, &runs);
    let opened = runs
        .iter()
        .flat_map(|(shard, run)| run.approvals_opened.iter().map(|asked| (*shard, asked)));
    approvals::open(calls, opened.collect(), now);
    approvals::close(
        calls,
        runs.iter().flat_map(|(_, run)| &run.approvals_closed),
    );
    let children: Vec<_> = runs.iter().flat_map(|(_, run)| &run.children).collect();
    create::insert(calls, &children, now, &mut changes);
    let commands = runs.iter().flat_map(|(_, run)| &run.commands).collect();
    inbox::put(calls, commands, &mut changes);
    let answered: Vec<_> = runs.iter().flat_map(|(_, run)| &run.answered).collect();
    changes.answers |= !answered.is_empty();
    inbox::answer(calls, &answered, now);
    outbox(calls, &runs, commits);
    changes
}

fn update<'a>(runs: &[(u16, &'a RunChange)]) -> Call<'a> {
    let maybe = |at: Option<u64>| at.map(int);
    let ids: Vec<&str> = runs.iter().map(|(_, run)| run.run_id.as_str()).collect();
    let status: Vec<&str> = runs.iter().map(|(_, run)| run.status.as_str()).collect();
    let error: Vec<_> = runs
        .iter()
        .map(|(_, run)| run.error.as_deref().map(text))
        .collect();
    let started: Vec<_> = runs.iter().map(|(_, run)| maybe(run.started_at)).collect();
    let ended: Vec<_> = runs.iter().map(|(_, run)| maybe(run.ended_at)).collect();
    let idle: Vec<bool> = runs.iter().map(|(_, run)| run.idle).collect();
    let sql = "
        UPDATE run r SET status = c.status, error = c.error, started_at = coalesce(c.started, r.started_at),
            ended_at = c.ended, delete_at = c.ended + r.keep_ms, idle = c.idle
        FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::bool[])
            AS c(run_id, status, error, started, ended, idle)
        WHERE r.run_id = c.run_id AND (r.status <> c.status OR r.idle <> c.idle
            OR r.error IS DISTINCT FROM c.error OR r.ended_at IS DISTINCT FROM c.ended
            OR (c.started IS NOT NULL AND r.started_at IS DISTINCT FROM c.started))";
    Call::new(sql)
        .with(ids)
        .with(status)
        .with(error)
        .with(started)
        .with(ended)
        .with(idle)
        .beside()
}

/// Headers and node records, and the content that they name.
fn records<'a>(calls: &mut Vec<Call<'a>>, runs: &[(u16, &'a RunChange)]) {
    let mut records = Records::default();
    let mut contents: HashMap<&str, &[u8]> = HashMap::new();
    for (_, run) in runs {
        let active = serde_json::to_string(&run.active_nodes).unwrap_or_default();
        records.put(&run.run_id, "", &run.header, Some(active));
        for (key, record) in &run.nodes {
            records.put(&run.run_id, key, record, None);
        }
        for (id, content) in &run.blobs {
            contents.insert(id, content);
            records.name(&run.run_id, id.clone());
        }
    }
    blobs::put(calls, contents);
    records.calls(calls);
}

fn events<'a>(
    calls: &mut Vec<Call<'a>>,
    runs: &[(u16, &'a RunChange)],
    now: u64,
    changes: &mut Changes,
) {
    let (mut shards, mut seqs, mut ids, mut arrays) = (vec![], vec![], vec![], vec![]);
    for (shard, run) in runs {
        for (last, events) in numbers::ranges(&run.events) {
            shards.push(shard.cast_signed());
            seqs.push(int(last));
            ids.push(&*run.run_id);
            arrays.push(events);
            changes.in_events(*shard);
        }
    }
    if !shards.is_empty() {
        let sql = "INSERT INTO event (shard, seq, run_id, events, at)
            SELECT e.*, $5 FROM unnest($1::int2[], $2::int8[], $3::text[], $4::bytea[]) AS e";
        let call = Call::new(sql).with(shards).with(seqs).with(ids);
        calls.push(call.with(arrays).with(int(now)).beside());
    }
}

fn timers<'a>(calls: &mut Vec<Call<'a>>, runs: &[(u16, &'a RunChange)]) {
    let mut set: BTreeMap<(&str, &str), (i16, i64)> = BTreeMap::new();
    let mut cleared: (Vec<&str>, Vec<&str>) = Default::default();
    for (shard, run) in runs {
        for (key, due_at) in &run.timers_set {
            set.insert((&run.run_id, key), (shard.cast_signed(), int(*due_at)));
        }
        for key in &run.timers_cleared {
            // One that is set and cleared in one go is not written.
            set.remove(&(run.run_id.as_str(), key.as_str()));
            cleared.0.push(&run.run_id);
            cleared.1.push(key);
        }
    }
    if !set.is_empty() {
        let sql = "INSERT INTO timer (run_id, key, shard, due_at)
            SELECT * FROM unnest($1::text[], $2::text[], $3::int2[], $4::int8[])
            ON CONFLICT (run_id, key) DO UPDATE SET due_at = excluded.due_at";
        let (ids, keys): (Vec<&str>, Vec<&str>) = set.keys().copied().unzip();
        let (shards, due): (Vec<i16>, Vec<i64>) = set.values().copied().unzip();
        let call = Call::new(sql).with(ids).with(keys);
        calls.push(call.with(shards).with(due).beside());
    }
    if !cleared.0.is_empty() {
        let sql = "DELETE FROM timer t USING unnest($1::text[], $2::text[]) AS c(run_id, key)
            WHERE t.run_id = c.run_id AND t.key = c.key";
        calls.push(Call::new(sql).with(cleared.0).with(cleared.1).beside());
    }
}

fn outbox<'a>(
    calls: &mut Vec<Call<'a>>,
    runs: &[(u16, &'a RunChange)],
    commits: impl Iterator<Item = &'a Commit>,
) {
    let mut entries: BTreeMap<(i16, i64), (&str, &[u8])> = BTreeMap::new();
    for (shard, run) in runs {
        for entry in &run.outbox {
            let number = (shard.cast_signed(), int(entry.number));
            entries.insert(number, (&entry.run_id, &entry.effect));
        }
    }
    if !entries.is_empty() {
        let sql = "INSERT INTO outbox (shard, number, run_id, effect)
            SELECT * FROM unnest($1::int2[], $2::int8[], $3::text[], $4::bytea[])
            ON CONFLICT (shard, number) DO UPDATE SET run_id = excluded.run_id, effect = excluded.effect";
        let (shards, numbers): (Vec<i16>, Vec<i64>) = entries.keys().copied().unzip();
        let (ids, effects): (Vec<&str>, Vec<&[u8]>) = entries.values().copied().unzip();
        calls.push(
            Call::new(sql)
                .with(shards)
                .with(numbers)
                .with(ids)
                .with(effects),
        );
    }
    let done = commits.flat_map(|commit| {
        let shard = commit.shard.cast_signed();
        commit
            .outbox_done
            .iter()
            .map(move |number| (shard, int(*number)))
    });
    let (shards, numbers): (Vec<i16>, Vec<i64>) = done.unzip();
    if !shards.is_empty() {
        let sql = "DELETE FROM outbox o USING unnest($1::int2[], $2::int8[]) AS c(shard, number)
            WHERE o.shard = c.shard AND o.number = c.number";
        calls.push(Call::new(sql).with(shards).with(numbers));
    }
}
