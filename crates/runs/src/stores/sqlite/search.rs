//! Lists of runs.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    database::{number, rows},
    load::summary,
};
use crate::{
    Error, RunFilter, RunPage, RunSummary,
    stores::{
        find::{self, Dialect, Find},
        page,
    },
};

const DIALECT: Dialect = Dialect {
    place: '?',
    position: "instr",
    header: find::HEADER,
    unindexed: "+",
};

/// A page, latest first.
pub(super) fn runs(db: &Connection, filter: &RunFilter) -> Result<RunPage, Error> {
    let limit = page::limit(filter.limit);
    let Some(part) = filter.q.as_deref().filter(|part| !part.is_empty()) else {
        let found = read(db, find::runs(filter, limit, DIALECT)?)?;
        return Ok(page::of(found, limit));
    };
    let mut found = read(db, find::among_latest(filter, part, limit, DIALECT)?)?;
    if found.len() <= limit {
        let Find { sql, values } = find::tags(part, DIALECT);
        let values = params_from_iter(values.into_iter().map(value));
        let tags = rows(db, &sql, values, |row| Ok(row.get(0)?))?;
        for elsewhere in find::elsewhere(filter, part, &tags, limit, DIALECT)? {
            found.extend(read(db, elsewhere)?);
        }
    }
    Ok(page::of(page::in_order(found), limit))
}

/// How many fit.
pub(super) fn count(db: &Connection, filter: &RunFilter) -> Result<u64, Error> {
    let Find { sql, values } = find::count(filter, DIALECT)?;
    let values = params_from_iter(values.into_iter().map(value));
    let counted = rows(db, &sql, values, |row| number(row, 0))?;
    Ok(counted.first().copied().unwrap_or(0))
}

fn read(db: &Connection, find: Find) -> Result<Vec<RunSummary>, Error> {
    let values = params_from_iter(find.values.into_iter().map(value));
    rows(db, &find.sql, values, summary)
}

fn value(value: find::Value) -> Value {
    match value {
        find::Value::Text(text) => text.into(),
        find::Value::Number(number) => number.into(),
    }
}
