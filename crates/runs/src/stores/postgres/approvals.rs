//! Questions to people.

use std::{collections::BTreeMap, sync::Arc};

use tokio_postgres::Row;

use super::{
    call::{Call, Trouble, column, count, int, json, maybe_number, number, text},
    commit::AGAIN,
    inbox, notify,
    pool::{Lent, Pool},
};
use crate::{
    Approval, ApprovalFilter, ApprovalState, Changes, Decision, DecisionOutcome, Error,
    NewApproval, decision,
    stores::questions::{self, Question},
};

const COLUMNS: &str =
    "a.key, a.run_id, a.node_id, a.message, a.options, a.context, a.due_at, r.owner, r.tag,
    a.state, a.decisions, a.escalated, a.created_at";
const FROM: &str = "approval a JOIN run r ON r.run_id = a.run_id";

fn read(row: &Row) -> Result<Approval, Error> {
    let question = Question {
        asked: NewApproval {
            key: column(row, 0)?,
            run_id: column(row, 1)?,
            node_id: column(row, 2)?,
            message: column(row, 3)?,
            options: json(row, 4)?,
            context: json(row, 5)?,
            due_at: maybe_number(row, 6)?,
        },
        owner: column(row, 7)?,
        tag: column(row, 8)?,
        state: column(row, 9)?,
        decisions: json(row, 10)?,
        escalated: u32::try_from(column::<i64>(row, 11)?).unwrap_or(u32::MAX),
        created_at: number(row, 12)?,
    };
    question.approval()
}

fn read_all(rows: &[Row]) -> Result<Vec<Approval>, Error> {
    rows.iter().map(read).collect()
}

/// Adds the statement that asks. A question that waits already stays as it is.
pub(super) fn open<'a>(calls: &mut Vec<Call<'a>>, asked: Vec<(u16, &'a NewApproval)>, now: u64) {
    if asked.is_empty() {
        return;
    }
    // One that is asked twice in one go is asked as it was last.
    let asked: BTreeMap<&str, (u16, &NewApproval)> = asked
        .into_iter()
        .map(|(shard, asked)| (&*asked.key, (shard, asked)))
        .collect();
    let each = || asked.values().map(|(_, asked)| *asked);
    let shards: Vec<i16> = asked
        .values()
        .map(|(shard, _)| shard.cast_signed())
        .collect();
    let keys: Vec<&str> = each().map(|asked| &*asked.key).collect();
    let runs: Vec<&str> = each().map(|asked| &*asked.run_id).collect();
    let nodes: Vec<Option<&str>> = each().map(|asked| asked.node_id.as_deref()).collect();
    let messages: Vec<_> = each().map(|asked| text(&asked.message)).collect();
    let options: Vec<String> = each().map(|asked| asked.options.to_string()).collect();
    let contexts: Vec<String> = each().map(|asked| asked.context.to_string()).collect();
    let due: Vec<Option<i64>> = each().map(|asked| asked.due_at.map(int)).collect();
    let next: Vec<Option<i64>> = each().map(|asked| asked.next_at().map(int)).collect();
    let sql = "
        INSERT INTO approval (key, run_id, shard, node_id, message, options, context, due_at, next_at, state,
            decisions, escalated, created_at)
        SELECT a.*, 'pending', '[]', 0, $10 FROM unnest($1::text[], $2::text[], $3::int2[], $4::text[], $5::text[],
            $6::text[], $7::text[], $8::int8[], $9::int8[]) AS a
        ON CONFLICT (key) DO UPDATE SET message = excluded.message, options = excluded.options,
            context = excluded.context, due_at = excluded.due_at, next_at = excluded.next_at, state = 'pending',
            decisions = '[]', escalated = 0, created_at = excluded.created_at
        WHERE approval.state <> 'pending'";
    let call = Call::new(sql)
        .with(keys)
        .with(runs)
        .with(shards)
        .with(nodes);
    let call = call.with(messages).with(options).with(contexts).with(due);
    calls.push(call.with(next).with(int(now)));
}

/// Adds the statement that does not ask any more.
pub(super) fn close<'a>(calls: &mut Vec<Call<'a>>, keys: impl Iterator<Item = &'a String>) {
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    if !keys.is_empty() {
        let sql = "UPDATE approval SET state = 'closed' WHERE key = ANY($1) AND state = 'pending'";
        calls.push(Call::new(sql).with(keys));
    }
}

/// One approval.
pub(super) async fn get(session: &mut Lent, key: &str) -> Result<Approval, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE a.key = $1");
    let row = session.first(Call::new(sql).with(text(key))).await?;
    row.map_or_else(|| Err(questions::unknown(key)), |row| read(&row))
}

/// A page, oldest first.
pub(super) async fn list(
    session: &mut Lent,
    filter: &ApprovalFilter,
) -> Result<Vec<Approval>, Error> {
    let after = match filter.cursor.as_deref().filter(|key| !key.is_empty()) {
        Some(key) => Some((get(session, key).await?.created_at, key.to_owned())),
        None => None,
    };
    let mut page = questions::Page::new(filter, after);
    while let Some((after, most)) = page.next() {
        let mut call = Call::new("");
        let mut conditions = Vec::new();
        if let Some((at, key)) = after {
            let (at, key) = (call.put(int(at)), call.put(key));
            conditions.push(format!("(a.created_at, a.key) > ({at}, {key})"));
        }
        if let Some(run_id) = &filter.run_id {
            conditions.push(format!("a.run_id = {}", call.put(text(run_id))));
        }
        if filter.pending {
            conditions.push("a.state = 'pending'".to_owned());
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", conditions.join(" AND ")),
        };
        let most = call.put(count(most));
        let order = "ORDER BY a.created_at, a.key";
        call.sql = format!("SELECT {COLUMNS} FROM {FROM} {conditions} {order} LIMIT {most}").into();
        page.take(read_all(&session.rows(call).await?)?);
    }
    Ok(page.approvals())
}

/// Begins a transaction that has the approval for itself.
async fn lock(session: &mut Lent, key: &str) -> Result<Approval, Trouble> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE a.key = $1 FOR NO KEY UPDATE OF a");
    let calls = [Call::plain("BEGIN"), Call::new(sql).with(text(key))];
    let rows = session.run(&calls).await?;
    match rows.get(1).and_then(|rows| rows.first()) {
        Some(row) => Ok(read(row)?),
        None => {
            session.roll_back().await?;
            Err(questions::unknown(key).into())
        }
    }
}

/// Takes a decision.
pub(super) async fn decide(
    pool: &Arc<Pool>,
    own: u64,
    key: &str,
    decision: &Decision,
) -> Result<(DecisionOutcome, Changes), Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let mut session = pool.session().await?;
        match try_decide(&mut session, own, key, decision).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            outcome => return Ok(outcome?),
        }
    }
}

async fn try_decide(
    session: &mut Lent,
    own: u64,
    key: &str,
    decision: &Decision,
) -> Result<(DecisionOutcome, Changes), Trouble> {
    let approval = lock(session, key).await?;
    let (outcome, command) = decision::decide(approval, decision);
    let mut changes = Changes::default();
    let mut calls = Vec::new();
    if let DecisionOutcome::Complete(approval) | DecisionOutcome::Counted(approval) = &outcome {
        let sql = "UPDATE approval SET state = $2, decisions = $3 WHERE key = $1";
        let call = Call::new(sql).with(text(key)).with(approval.state.as_str());
        calls.push(call.with(questions::decisions(approval)));
    }
    inbox::put(&mut calls, command.iter().collect(), &mut changes);
    calls.extend(notify(changes, own));
    calls.push(Call::plain("COMMIT"));
    session.run(&calls).await?;
    Ok((outcome, changes))
}

/// Approvals that need attention.
pub(super) async fn due(
    session: &mut Lent,
    shards: Vec<i16>,
    now: u64,
    max: usize,
) -> Result<Vec<Approval>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM unnest($1::int2[]) AS w(shard),
         LATERAL (SELECT * FROM approval i WHERE i.shard = w.shard AND i.state = 'pending'
             AND i.next_at IS NOT NULL AND i.next_at <= $2 ORDER BY i.next_at LIMIT $3) AS a
         JOIN run r ON r.run_id = a.run_id ORDER BY a.next_at LIMIT $3"
    );
    let call = Call::new(sql).with(shards).with(int(now)).with(count(max));
    read_all(&session.rows(call).await?)
}

/// Notes a step of escalation, or a reminder.
pub(super) async fn escalate(
    session: &mut Lent,
    key: &str,
    escalated: u32,
    options: &serde_json::Value,
) -> Result<(), Error> {
    let mut approval = lock(session, key).await?;
    if approval.state != ApprovalState::Pending || escalated < approval.escalated {
        return Ok(session.roll_back().await?);
    }
    approval.asked.options = options.clone();
    let sql = "UPDATE approval SET escalated = $2, options = $3, next_at = $4 WHERE key = $1";
    let call = Call::new(sql)
        .with(text(key))
        .with(i64::from(escalated))
        .with(options.to_string())
        .with(approval.asked.next_at().map(int));
    session.run(&[call, Call::plain("COMMIT")]).await?;
    Ok(())
}
