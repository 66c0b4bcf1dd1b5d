//! Lists of runs.

use super::{
    call::{Call, column, number, text},
    load::summary,
    pool::Lent,
};
use crate::{
    Error, RunFilter, RunPage, RunSummary,
    stores::{
        find::{self, Dialect, Find, Value},
        page,
    },
};

const DIALECT: Dialect = Dialect {
    place: '$',
    position: "strpos",
    header: find::HEADER_OF_EACH,
    unindexed: "",
};

/// A page, latest first.
pub(super) async fn runs(session: &mut Lent, filter: &RunFilter) -> Result<RunPage, Error> {
    let limit = page::limit(filter.limit);
    let Some(part) = filter.q.as_deref().filter(|part| !part.is_empty()) else {
        let found = read(session, vec![find::runs(filter, limit, DIALECT)?]).await?;
        return Ok(page::of(found, limit));
    };
    let latest = find::among_latest(filter, part, limit, DIALECT)?;
    let mut found = read(session, vec![latest]).await?;
    if found.len() <= limit {
        let tags = session.rows(call(find::tags(part, DIALECT))).await?;
        let tags: Vec<String> = tags
            .iter()
            .map(|row| column(row, 0))
            .collect::<Result<_, _>>()?;
        let elsewhere = find::elsewhere(filter, part, &tags, limit, DIALECT)?;
        found.extend(read(session, elsewhere).await?);
    }
    Ok(page::of(page::in_order(found), limit))
}

/// How many fit.
pub(super) async fn count(session: &mut Lent, filter: &RunFilter) -> Result<u64, Error> {
    let counted = session.first(call(find::count(filter, DIALECT)?)).await?;
    counted.map_or(Ok(0), |row| number(&row, 0))
}

async fn read(session: &mut Lent, finds: Vec<Find>) -> Result<Vec<RunSummary>, Error> {
    let calls: Vec<_> = finds.into_iter().map(call).collect();
    let rows = session.run(&calls).await?;
    rows.iter().flatten().map(summary).collect()
}

fn call(find: Find) -> Call<'static> {
    let values = find.values.into_iter();
    values.fold(Call::new(find.sql), |call, value| match value {
        Value::Text(value) => call.with(text(&value).into_owned()),
        Value::Number(number) => call.with(number),
    })
}
