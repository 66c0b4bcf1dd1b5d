//! Lists of runs.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    database::{Values, count, int, rows},
    load::{FROM, SUMMARY, summary},
};
use crate::{Error, RunFilter, RunPage, stores::page};

/// A page, latest first.
pub(super) fn runs(db: &Connection, filter: &RunFilter) -> Result<RunPage, Error> {
    let limit = page::limit(filter.limit);
    let (sql, values) = query(filter, limit)?;
    let runs = rows(db, &sql, params_from_iter(values), summary)?;
    Ok(page::of(runs, limit))
}

fn query(filter: &RunFilter, limit: usize) -> Result<(String, Values), Error> {
    let mut values = Values::new();
    let mut put = |value: Value| {
        values.push(value);
        format!("?{}", values.len())
    };
    let mut from = FROM.to_owned();
    let mut conditions: Vec<String> = Vec::new();
    let mut time = "r";
    for (at, (key, value)) in filter.labels.iter().enumerate() {
        let (key, value) = (
            put(Value::from(key.clone())),
            put(Value::from(value.clone())),
        );
        if at == 0 {
            // The labels are in the order of the page: it is read from them.
            from = format!("run_label l CROSS JOIN {FROM}");
            conditions.push(format!(
                "l.key = {key} AND l.value = {value} AND r.run_id = l.run_id"
            ));
            time = "l";
        } else {
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM run_label o WHERE o.key = {key} AND o.value = {value}
                 AND o.submitted_at = r.submitted_at AND o.run_id = r.run_id)"
            ));
        }
    }
    let status = filter.status.as_ref().map(|status| status.to_uppercase());
    for (column, wanted) in [
        ("status", status.as_ref()),
        ("tag", filter.tag.as_ref()),
        ("owner", filter.owner.as_ref()),
    ] {
        if let Some(wanted) = wanted {
            conditions.push(format!("r.{column} = {}", put(Value::from(wanted.clone()))));
        }
    }
    if let Some(since) = filter.since {
        conditions.push(format!("{time}.submitted_at >= {}", put(int(since).into())));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("{time}.submitted_at < {}", put(int(until).into())));
    }
    if let Some(cursor) = &filter.cursor {
        let (at, run_id) = page::position(cursor)?;
        let (at, run_id) = (put(int(at).into()), put(run_id.into()));
        conditions.push(format!(
            "({time}.submitted_at, {time}.run_id) < ({at}, {run_id})"
        ));
    }
    if let Some(part) = &filter.q {
        let part = put(part.to_lowercase().into());
        conditions.push(format!(
            "(instr(lower(r.run_id), {part}) OR instr(lower(r.tag), {part}) OR instr(lower(r.error), {part}))"
        ));
    }
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let limit = put(count(limit + 1).into());
    let sql = format!(
        "SELECT {SUMMARY} FROM {from} {conditions}
         ORDER BY {time}.submitted_at DESC, {time}.run_id DESC LIMIT {limit}"
    );
    Ok((sql, values))
}
