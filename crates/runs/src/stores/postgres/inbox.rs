//! What waits for the owner of a shard: commands, timers, effects.

use std::sync::Arc;

use super::{
    call::{Call, Trouble, column, count, int, json, maybe_number, number, text},
    notify,
    pool::{Lent, Pool},
};
use crate::{
    Changes, Command, CommandAnswer, Error, InboxItem, OutboxEntry, TimerRow, shard_of,
    stores::admission::unknown_run,
};

/// Sends a command for a door.
pub(super) async fn send(pool: &Arc<Pool>, own: u64, command: &Command) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    let mut calls = Vec::new();
    let sql = "SELECT 1 FROM run WHERE run_id = $1";
    calls.push(Call::new(sql).with(text(&command.run_id)));
    put(&mut calls, vec![command], &mut changes);
    calls.extend(notify(changes, own));
    let rows = pool.session().await?.transaction(calls).await?;
    match rows.first().is_some_and(|known| !known.is_empty()) {
        true => Ok(changes),
        false => Err(unknown_run(&command.run_id)),
    }
}

/// Adds the statement that stores commands to runs that are there; nothing happens again to known ones.
pub(super) fn put<'a>(
    calls: &mut Vec<Call<'a>>,
    commands: Vec<&'a Command>,
    changes: &mut Changes,
) {
    if commands.is_empty() {
        return;
    }
    let mut columns: (Vec<_>, Vec<i16>, Vec<_>, Vec<_>, Vec<String>) = Default::default();
    for command in commands {
        let shard = shard_of(&command.run_id);
        changes.in_commands(shard);
        columns.0.push(text(&command.id));
        columns.1.push(shard.cast_signed());
        columns.2.push(text(&command.run_id));
        columns.3.push(text(&command.kind));
        columns.4.push(command.body.to_string());
    }
    let sql = "INSERT INTO signal (id, shard, run_id, kind, body)
        SELECT c.id, c.shard, c.run_id, c.kind, c.body
        FROM unnest($1::text[], $2::int2[], $3::text[], $4::text[], $5::text[])
            WITH ORDINALITY AS c(id, shard, run_id, kind, body, place)
        JOIN run r ON r.run_id = c.run_id ORDER BY c.place ON CONFLICT (id) DO NOTHING";
    let call = Call::new(sql)
        .with(columns.0)
        .with(columns.1)
        .with(columns.2);
    calls.push(call.with(columns.3).with(columns.4));
}

/// Commands that are not answered.
pub(super) async fn waiting(
    session: &mut Lent,
    shards: Vec<i16>,
    max: usize,
) -> Result<Vec<InboxItem>, Error> {
    let sql = "SELECT c.number, c.run_id, c.id, c.kind, c.body FROM unnest($1::int2[]) AS w(shard),
        LATERAL (SELECT * FROM signal s WHERE s.shard = w.shard AND s.answered_at IS NULL
            ORDER BY s.number LIMIT $2) AS c
        ORDER BY c.number LIMIT $2";
    let rows = session
        .rows(Call::new(sql).with(shards).with(count(max)))
        .await?;
    let items = rows.iter().map(|row| {
        Ok(InboxItem {
            number: number(row, 0)?,
            command: Command {
                run_id: column(row, 1)?,
                id: column(row, 2)?,
                kind: column(row, 3)?,
                body: json(row, 4)?,
            },
        })
    });
    items.collect()
}

/// Adds the statement that notes answers.
pub(super) fn answer<'a>(
    calls: &mut Vec<Call<'a>>,
    answered: &[&'a (u64, String, CommandAnswer)],
    now: u64,
) {
    if answered.is_empty() {
        return;
    }
    let numbers: Vec<i64> = answered.iter().map(|(number, ..)| int(*number)).collect();
    let statuses: Vec<i32> = answered
        .iter()
        .map(|(.., answer)| i32::from(answer.status))
        .collect();
    let bodies: Vec<String> = answered
        .iter()
        .map(|(.., answer)| answer.body.to_string())
        .collect();
    let sql = "UPDATE signal s SET status = c.status, answer = c.answer, answered_at = $4
        FROM unnest($1::int8[], $2::int4[], $3::text[]) AS c(number, status, answer)
        WHERE s.number = c.number";
    let call = Call::new(sql).with(numbers).with(statuses).with(bodies);
    calls.push(call.with(int(now)).beside());
}

/// The answers that are there.
pub(super) async fn answers(
    session: &mut Lent,
    ids: &[String],
) -> Result<Vec<(String, CommandAnswer)>, Error> {
    let sql =
        "SELECT id, status, answer FROM signal WHERE id = ANY($1) AND answered_at IS NOT NULL";
    let rows = session.rows(Call::new(sql).with(ids)).await?;
    let answers = rows.iter().map(|row| {
        let answer = CommandAnswer {
            status: u16::try_from(column::<i32>(row, 1)?).unwrap_or_default(),
            body: json(row, 2)?,
        };
        Ok((column(row, 0)?, answer))
    });
    answers.collect()
}

/// Timers that are due, and when the next one is.
pub(super) async fn due_timers(
    session: &mut Lent,
    shards: Vec<i16>,
    now: u64,
    max: usize,
) -> Result<(Vec<TimerRow>, Option<u64>), Error> {
    let due = "SELECT t.run_id, t.key, t.due_at FROM unnest($1::int2[]) AS w(shard),
        LATERAL (SELECT * FROM timer i WHERE i.shard = w.shard AND i.due_at <= $2 ORDER BY i.due_at LIMIT $3) AS t
        ORDER BY t.due_at LIMIT $3";
    let next = "SELECT min(t.due_at) FROM unnest($1::int2[]) AS w(shard),
        LATERAL (SELECT due_at FROM timer i WHERE i.shard = w.shard AND i.due_at > $2
            ORDER BY i.due_at LIMIT 1) AS t";
    let due = Call::new(due)
        .with(shards.clone())
        .with(int(now))
        .with(count(max));
    let next = Call::new(next).with(shards).with(int(now));
    let rows = session.run(&[due, next]).await?;
    let due = rows.first().into_iter().flatten().map(|row| {
        Ok(TimerRow {
            run_id: column(row, 0)?,
            key: column(row, 1)?,
            due_at: number(row, 2)?,
        })
    });
    let due: Vec<TimerRow> = due.collect::<Result<_, Error>>()?;
    let next = rows.get(1).and_then(|rows| rows.first());
    let next = next.map(|row| maybe_number(row, 0)).transpose()?.flatten();
    // What did not fit is due at once.
    let left = (due.len() == max).then(|| due.last().map(|timer| timer.due_at));
    Ok((due, left.flatten().or(next)))
}

/// Effects that are not noted as carried out.
pub(super) async fn outbox(session: &mut Lent, shard: u16) -> Result<Vec<OutboxEntry>, Trouble> {
    let sql = "SELECT run_id, number, effect FROM outbox WHERE shard = $1 ORDER BY number";
    let rows = session
        .rows(Call::new(sql).with(shard.cast_signed()))
        .await?;
    let entries = rows.iter().map(|row| {
        Ok(OutboxEntry {
            run_id: column(row, 0)?,
            number: number(row, 1)?,
            effect: column(row, 2)?,
        })
    });
    entries.collect()
}
