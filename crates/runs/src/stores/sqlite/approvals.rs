//! Questions to people.

use rusqlite::{Connection, Row, params, params_from_iter, types::Value};

use super::database::{
    Values, count, execute, first, int, json, maybe_int, maybe_number, number, rows,
};
use crate::{
    Approval, ApprovalFilter, ApprovalState, Changes, Decision, DecisionOutcome, Error,
    NewApproval, decision,
    stores::questions::{self, Question},
};

use super::inbox;

const COLUMNS: &str =
    "a.key, a.run_id, a.node_id, a.message, a.options, a.context, a.due_at, r.owner, r.tag,
    a.state, a.decisions, a.escalated, a.created_at";
const FROM: &str = "approval a CROSS JOIN run r ON r.run_id = a.run_id";

fn read(row: &Row<'_>) -> Result<Approval, Error> {
    let question = Question {
        asked: NewApproval {
            key: row.get(0)?,
            run_id: row.get(1)?,
            node_id: row.get(2)?,
            message: row.get(3)?,
            options: json(row, 4)?,
            context: json(row, 5)?,
            due_at: maybe_number(row, 6)?,
        },
        owner: row.get(7)?,
        tag: row.get(8)?,
        state: row.get(9)?,
        decisions: json(row, 10)?,
        escalated: row.get(11)?,
        created_at: number(row, 12)?,
    };
    question.approval()
}

/// Asks. A question that waits already stays as it is.
pub(super) fn open(
    db: &Connection,
    shard: u16,
    asked: &NewApproval,
    now: u64,
) -> Result<(), Error> {
    execute(
        db,
        "INSERT INTO approval (key, run_id, shard, node_id, message, options, context, due_at, next_at,
             state, decisions, escalated, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'pending', '[]', 0, ?10)
         ON CONFLICT (key) DO UPDATE SET message = ?5, options = ?6, context = ?7, due_at = ?8, next_at = ?9,
             state = 'pending', decisions = '[]', escalated = 0, created_at = ?10
         WHERE state <> 'pending'",
        params![
            asked.key,
            asked.run_id,
            shard,
            asked.node_id,
            asked.message,
            asked.options.to_string(),
            asked.context.to_string(),
            maybe_int(asked.due_at),
            maybe_int(asked.next_at()),
            int(now),
        ],
    )?;
    Ok(())
}

/// Does not ask any more.
pub(super) fn close(db: &Connection, key: &str) -> Result<(), Error> {
    let sql = "UPDATE approval SET state = 'closed' WHERE key = ?1 AND state = 'pending'";
    execute(db, sql, [key])?;
    Ok(())
}

/// One approval.
pub(super) fn get(db: &Connection, key: &str) -> Result<Approval, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE a.key = ?1");
    first(db, &sql, [key], read)?.ok_or_else(|| questions::unknown(key))
}

/// A page, oldest first.
pub(super) fn list(db: &Connection, filter: &ApprovalFilter) -> Result<Vec<Approval>, Error> {
    let after = filter.cursor.as_deref().filter(|key| !key.is_empty());
    let after = after.map(|key| get(db, key).map(|last| (last.created_at, key.to_owned())));
    let mut page = questions::Page::new(filter, after.transpose()?);
    while let Some((after, most)) = page.next() {
        let mut values = Values::new();
        let mut put = |value: Value| {
            values.push(value);
            format!("?{}", values.len())
        };
        let mut conditions = Vec::new();
        if let Some((at, key)) = after {
            let (at, key) = (put(int(at).into()), put(key.into()));
            conditions.push(format!("(a.created_at, a.key) > ({at}, {key})"));
        }
        if let Some(run_id) = &filter.run_id {
            conditions.push(format!("a.run_id = {}", put(run_id.clone().into())));
        }
        if filter.pending {
            conditions.push("a.state = 'pending'".to_owned());
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", conditions.join(" AND ")),
        };
        let most = put(count(most).into());
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} {conditions} ORDER BY a.created_at, a.key LIMIT {most}"
        );
        page.take(rows(db, &sql, params_from_iter(values), read)?);
    }
    Ok(page.approvals())
}

/// Takes a decision.
pub(super) fn decide(
    db: &Connection,
    key: &str,
    decision: &Decision,
    changes: &mut Changes,
) -> Result<DecisionOutcome, Error> {
    let (outcome, command) = decision::decide(get(db, key)?, decision);
    if let DecisionOutcome::Complete(approval) | DecisionOutcome::Counted(approval) = &outcome {
        let sql = "UPDATE approval SET state = ?2, decisions = ?3 WHERE key = ?1";
        let decisions = questions::decisions(approval);
        execute(db, sql, params![key, approval.state.as_str(), decisions])?;
    }
    if let Some(command) = command {
        inbox::put(db, &command, changes)?;
    }
    Ok(outcome)
}

/// Approvals that need attention.
pub(super) fn due(
    db: &Connection,
    shards: u64,
    now: u64,
    max: usize,
) -> Result<Vec<Approval>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE a.state = 'pending' AND a.next_at IS NOT NULL
             AND a.next_at <= ?2 AND (?1 >> a.shard) & 1 ORDER BY a.next_at LIMIT ?3"
    );
    rows(
        db,
        &sql,
        params![shards.cast_signed(), int(now), count(max)],
        read,
    )
}

/// Notes a step of escalation, or a reminder.
pub(super) fn escalate(
    db: &Connection,
    key: &str,
    escalated: u32,
    options: serde_json::Value,
) -> Result<(), Error> {
    let mut approval = get(db, key)?;
    if approval.state != ApprovalState::Pending || escalated < approval.escalated {
        return Ok(());
    }
    approval.asked.options = options;
    approval.escalated = escalated;
    execute(
        db,
        "UPDATE approval SET escalated = ?2, options = ?3, next_at = ?4 WHERE key = ?1",
        params![
            key,
            escalated,
            approval.asked.options.to_string(),
            maybe_int(approval.asked.next_at()),
        ],
    )?;
    Ok(())
}
