//! The history of runs.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::database::{count, first, int, maybe_number, number, rows};
use crate::{
    Error, EventCursor, EventFilter, EventPage, StoredEvent, shard_of,
    stores::{
        follow::{Reach, Reading, ShardState},
        numbers,
    },
};

/// A cursor after everything.
pub(super) fn last(db: &Connection) -> Result<EventCursor, Error> {
    let shards = shards(db)?.into_iter();
    Ok(EventCursor(
        shards
            .filter(|(_, state)| state.last > 0)
            .map(|(shard, state)| (shard, state.last))
            .collect(),
    ))
}

fn shards(db: &Connection) -> Result<BTreeMap<u16, ShardState>, Error> {
    let sql = "SELECT shard, last_seq, deleted_seq FROM shard";
    let shards = rows(db, sql, (), |row| {
        let state = ShardState {
            last: number(row, 1)?,
            deleted: number(row, 2)?,
        };
        Ok((row.get(0)?, state))
    })?;
    Ok(shards.into_iter().collect())
}

/// The number of the last event of the range that a number is in: ranges are read as a whole.
fn whole_range(db: &Connection, shard: u16, number: u64) -> Result<u64, Error> {
    let sql = "SELECT min(seq) FROM event WHERE shard = ?1 AND seq >= ?2";
    let end = first(db, sql, params![shard, int(number)], |row| {
        maybe_number(row, 0)
    })?;
    Ok(end.flatten().unwrap_or(number))
}

/// Events after a cursor.
pub(super) fn events(
    db: &Connection,
    filter: &EventFilter,
    after: &EventCursor,
    limit: usize,
) -> Result<EventPage, Error> {
    let mut states = shards(db)?;
    let of_run = filter.run_id.as_deref();
    if let Some(run_id) = of_run {
        let own = shard_of(run_id);
        states.retain(|shard, _| *shard == own);
    }
    let reach = match (of_run, &filter.owner) {
        (Some(_), _) => Reach::Run,
        (None, Some(_)) => Reach::Window,
        (None, None) => Reach::All,
    };
    let mut reading = Reading::new(states, after, limit, reach);
    while let Some(part) = reading.next() {
        let (shard, after) = (part.shard, part.after);
        let sql = match of_run {
            Some(_) => {
                "SELECT e.seq, e.run_id, e.events, r.owner, r.tag FROM event e
                 JOIN run r ON r.run_id = e.run_id
                 WHERE e.run_id = ?5 AND e.seq > ?2 AND e.seq <= ?3 AND +e.shard = ?1
                     AND (?4 IS NULL OR r.owner = ?4) ORDER BY e.seq LIMIT ?6"
            }
            None => {
                "SELECT e.seq, e.run_id, e.events, r.owner, r.tag FROM event e
                 CROSS JOIN run r ON r.run_id = e.run_id
                 WHERE e.shard = ?1 AND e.seq > ?2 AND e.seq <= ?3
                     AND (?4 IS NULL OR r.owner = ?4) AND ?5 IS NULL ORDER BY e.seq LIMIT ?6"
            }
        };
        let upto = match part.cut {
            true => whole_range(db, shard, part.upto)?,
            false => part.upto,
        };
        let most = reading.left();
        let params = params![
            shard,
            int(after),
            int(upto),
            filter.owner,
            of_run,
            count(most)
        ];
        let found = rows(db, sql, params, |row| {
            let (seq, run_id, owner, tag): (_, String, String, Option<String>) =
                (number(row, 0)?, row.get(1)?, row.get(3)?, row.get(4)?);
            let array = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let events = numbers::events(seq, array, after)?.into_iter();
            let event = |(seq, event)| StoredEvent {
                shard,
                seq,
                run_id: run_id.clone(),
                owner: owner.clone(),
                tag: tag.clone(),
                event,
            };
            Ok(events.map(event).collect::<Vec<_>>())
        })?;
        let all = found.len() < most;
        reading.found(shard, upto, found.into_iter().flatten().collect(), all);
    }
    Ok(reading.page())
}
