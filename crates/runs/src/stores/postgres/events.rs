//! The history of runs.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::{
    call::{Call, Trouble, column, count, int, maybe_number, number, shard},
    pool::Lent,
};
use crate::{
    Error, EventCursor, EventFilter, EventPage, SHARDS, StoredEvent, shard_of,
    stores::{
        follow::{MOST, Part, Reach, Reading, ShardState},
        numbers,
    },
};

/// How many ranges of a shard are read at least, where a page has room for them.
const LEAST: usize = 100;

/// A cursor after everything.
pub(super) async fn last(session: &mut Lent) -> Result<EventCursor, Error> {
    let shards = shards(session, None).await?.into_iter();
    Ok(EventCursor(
        shards
            .filter(|(_, state)| state.last > 0)
            .map(|(shard, state)| (shard, state.last))
            .collect(),
    ))
}

async fn shards(
    session: &mut Lent,
    only: Option<u16>,
) -> Result<BTreeMap<u16, ShardState>, Trouble> {
    let all = "SELECT shard, last_seq, deleted_seq FROM shard";
    let call = match only {
        Some(only) => Call::new(format!("{all} WHERE shard = $1")).with(only.cast_signed()),
        None => Call::new(all),
    };
    let rows = session.rows(call).await?;
    let mut shards = BTreeMap::new();
    for row in &rows {
        let state = ShardState {
            last: number(row, 1)?,
            deleted: number(row, 2)?,
        };
        shards.insert(shard(row, 0)?, state);
    }
    Ok(shards)
}

/// Events after a cursor.
pub(super) async fn events(
    session: &mut Lent,
    filter: &EventFilter,
    after: &EventCursor,
    limit: usize,
) -> Result<EventPage, Error> {
    let (only, reach) = match (&filter.run_id, &filter.owner) {
        (None, None) => return all(session, after, limit).await,
        (Some(run_id), _) => (Some(shard_of(run_id)), Reach::Run),
        (None, Some(_)) => (None, Reach::Window),
    };
    // What is committed up to the last number of a shard is seen by every later statement.
    let states = shards(session, only).await?;
    let mut reading = Reading::new(states, after, limit, reach);
    // All shards are asked in one go; a page that is full leaves the last ones to the next.
    let mut asked = Vec::new();
    while let Some(next) = reading.next() {
        asked.push(next);
    }
    if asked.is_empty() {
        return Ok(reading.page());
    }
    if asked.iter().any(|part| part.cut) {
        whole_ranges(session, &mut asked).await?;
    }
    // Together they fill the page, more or less.
    let most = (reading.left() / asked.len())
        .max(LEAST)
        .min(reading.left());
    let calls: Vec<Call<'_>> = asked
        .iter()
        .map(|part| {
            let (run, condition) = match &filter.run_id {
                // All of them are of its shard: the index of runs is the one to use.
                Some(run_id) => (Some(run_id.as_str()), "e.run_id = $6 AND $1::int2 IS NOT NULL"),
                None => (None, "e.shard = $1 AND $6::text IS NULL"),
            };
            let sql = format!(
                "SELECT e.seq, e.run_id, e.events, r.owner, r.tag FROM event e JOIN run r ON r.run_id = e.run_id
                 WHERE e.seq > $2 AND e.seq <= $3 AND ($4::text IS NULL OR r.owner = $4)
                     AND {condition} ORDER BY e.seq LIMIT $5"
            );
            Call::new(sql)
                .with(part.shard.cast_signed())
                .with(int(part.after))
                .with(int(part.upto))
                .with(filter.owner.as_deref())
                .with(count(most))
                .with(run)
        })
        .collect();
    let rows = session.run(&calls).await?;
    for (part, rows) in asked.into_iter().zip(rows) {
        if reading.left() == 0 {
            break;
        }
        let mut events = Vec::new();
        for row in &rows {
            read(row, 0, part, &mut events)?;
        }
        reading.found(part.shard, part.upto, events, rows.len() < most);
    }
    Ok(reading.page())
}

/// What is new in each shard. It is what many who follow ask for again and again, so it is one statement.
const NEWS: &str = "
    WITH news AS MATERIALIZED (
        SELECT s.shard, s.last_seq, s.deleted_seq,
            CASE WHEN ($1::int8[])[s.shard + 1] <= s.last_seq THEN ($1::int8[])[s.shard + 1] ELSE 0 END AS seen
        FROM shard s WHERE s.last_seq <> ($1::int8[])[s.shard + 1]
    )
    SELECT n.shard, n.last_seq, n.deleted_seq, e.seq, e.run_id, e.events, e.owner, e.tag
    FROM news n LEFT JOIN LATERAL (
        SELECT e.seq, e.run_id, e.events, r.owner, r.tag FROM event e JOIN run r ON r.run_id = e.run_id
        WHERE e.shard = n.shard AND e.seq > n.seen AND e.seq <= n.last_seq
        ORDER BY e.seq LIMIT greatest($2 / (SELECT count(*) FROM news), least($2, $3))
    ) AS e ON true ORDER BY n.shard, e.seq";

/// Events of all runs after a cursor.
async fn all(session: &mut Lent, after: &EventCursor, limit: usize) -> Result<EventPage, Error> {
    let limit = limit.clamp(1, MOST);
    let seen = |shard| after.0.get(&shard).copied().unwrap_or(0);
    let seen: Vec<i64> = (0..SHARDS).map(|shard| int(seen(shard))).collect();
    let call = Call::new(NEWS).with(seen).with(count(limit));
    let rows = session.rows(call.with(count(LEAST))).await?;
    let mut states = BTreeMap::new();
    let mut found: BTreeMap<u16, Vec<&Row>> = BTreeMap::new();
    for row in &rows {
        let (last, deleted) = (number(row, 1)?, number(row, 2)?);
        let number = shard(row, 0)?;
        states.insert(number, ShardState { last, deleted });
        let of_shard = found.entry(number).or_default();
        // Those of a run that is kept no longer are left out.
        if maybe_number(row, 3)?.is_some() {
            of_shard.push(row);
        }
    }
    let most = (limit / states.len().max(1)).max(LEAST.min(limit));
    let mut reading = Reading::new(states, after, limit, Reach::All);
    while let Some(part) = reading.next() {
        let rows = found.remove(&part.shard).unwrap_or_default();
        let mut events = Vec::new();
        for row in &rows {
            read(row, 3, part, &mut events)?;
        }
        reading.found(part.shard, part.upto, events, rows.len() < most);
    }
    Ok(reading.page())
}

/// Reads a range of events, from this column on.
fn read(row: &Row, first: usize, part: Part, events: &mut Vec<StoredEvent>) -> Result<(), Error> {
    let (last, run_id): (_, &str) = (number(row, first)?, column(row, first + 1)?);
    for (seq, event) in numbers::events(last, column(row, first + 2)?, part.after)? {
        events.push(StoredEvent {
            shard: part.shard,
            seq,
            run_id: run_id.to_owned(),
            owner: column(row, first + 3)?,
            tag: column(row, first + 4)?,
            event,
        });
    }
    Ok(())
}

/// Lets each part end where a range of events ends: ranges are read as a whole.
async fn whole_ranges(session: &mut Lent, asked: &mut [Part]) -> Result<(), Trouble> {
    let mut cut: Vec<&mut Part> = asked.iter_mut().filter(|part| part.cut).collect();
    let shards: Vec<i16> = cut.iter().map(|part| part.shard.cast_signed()).collect();
    let upto: Vec<i64> = cut.iter().map(|part| int(part.upto)).collect();
    let sql = "SELECT (SELECT min(e.seq) FROM event e WHERE e.shard = w.shard AND e.seq >= w.upto)
        FROM unnest($1::int2[], $2::int8[]) WITH ORDINALITY AS w(shard, upto, place) ORDER BY w.place";
    let rows = session.rows(Call::new(sql).with(shards).with(upto)).await?;
    for (part, row) in cut.iter_mut().zip(&rows) {
        part.upto = maybe_number(row, 0)?.unwrap_or(part.upto);
    }
    Ok(())
}
