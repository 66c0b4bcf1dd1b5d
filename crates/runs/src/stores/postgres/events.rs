//! The history of runs.

use std::collections::BTreeMap;

use super::{
    call::{Call, Trouble, column, count, int, maybe_number, number, shard},
    pool::Lent,
};
use crate::{
    Error, EventCursor, EventFilter, EventPage, StoredEvent, shard_of,
    stores::{
        follow::{Part, Reading, ShardState},
        numbers,
    },
};

/// How many ranges of a shard are read at least, where a page has room for them.
const LEAST: usize = 100;

/// A cursor after everything.
pub(super) async fn last(session: &mut Lent) -> Result<EventCursor, Error> {
    let shards = shards(session).await?.into_iter();
    Ok(EventCursor(
        shards
            .filter(|(_, state)| state.last > 0)
            .map(|(shard, state)| (shard, state.last))
            .collect(),
    ))
}

async fn shards(session: &mut Lent) -> Result<BTreeMap<u16, ShardState>, Trouble> {
    let rows = session
        .rows(Call::new("SELECT shard, last_seq, deleted_seq FROM shard"))
        .await?;
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
    // What is committed up to the last number of a shard is seen by every later statement.
    let mut states = shards(session).await?;
    if let Some(run_id) = &filter.run_id {
        let own = shard_of(run_id);
        states.retain(|shard, _| *shard == own);
    }
    let mut reading = Reading::new(states, after, limit, filter.run_id.is_some());
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
            let run_id: &str = column(row, 1)?;
            for (seq, event) in numbers::events(number(row, 0)?, column(row, 2)?, part.after)? {
                events.push(StoredEvent {
                    shard: part.shard,
                    seq,
                    run_id: run_id.to_owned(),
                    owner: column(row, 3)?,
                    tag: column(row, 4)?,
                    event,
                });
            }
        }
        reading.found(part.shard, part.upto, events, rows.len() < most);
    }
    Ok(reading.page())
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
