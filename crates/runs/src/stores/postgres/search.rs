//! Lists of runs.

use super::{
    call::{Call, count, int, text},
    load::{HEADER, SUMMARY, summary},
    pool::Lent,
};
use crate::{Error, RunFilter, RunPage, stores::page};

/// A page, latest first.
pub(super) async fn runs(session: &mut Lent, filter: &RunFilter) -> Result<RunPage, Error> {
    let limit = page::limit(filter.limit);
    let rows = session.rows(query(filter, limit)?).await?;
    let runs = rows.iter().map(summary).collect::<Result<_, _>>()?;
    Ok(page::of(runs, limit))
}

fn query(filter: &RunFilter, limit: usize) -> Result<Call<'static>, Error> {
    let mut call = Call::new("");
    let mut from = "run r".to_owned();
    let mut conditions: Vec<String> = Vec::new();
    let mut time = "r";
    let own = |value: &str| text(value).into_owned();
    for (at, (key, value)) in filter.labels.iter().enumerate() {
        let (key, value) = (call.put(own(key)), call.put(own(value)));
        if at == 0 {
            // The labels are in the order of the page: it is read from them.
            "run_label l JOIN run r ON r.run_id = l.run_id".clone_into(&mut from);
            conditions.push(format!("l.key = {key} AND l.value = {value}"));
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
            conditions.push(format!("r.{column} = {}", call.put(own(wanted))));
        }
    }
    if let Some(since) = filter.since {
        conditions.push(format!("{time}.submitted_at >= {}", call.put(int(since))));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("{time}.submitted_at < {}", call.put(int(until))));
    }
    if let Some(cursor) = &filter.cursor {
        let (at, run_id) = page::position(cursor)?;
        let (at, run_id) = (call.put(int(at)), call.put(own(&run_id)));
        conditions.push(format!(
            "({time}.submitted_at, {time}.run_id) < ({at}, {run_id})"
        ));
    }
    if let Some(part) = &filter.q {
        let part = call.put(own(&part.to_lowercase()));
        conditions.push(format!(
            "(strpos(r.run_id, {part}) > 0 OR strpos(lower(r.tag), {part}) > 0 OR strpos(lower(r.error), {part}) > 0)"
        ));
    }
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let limit = call.put(count(limit + 1));
    let order = format!("{time}.submitted_at DESC, {time}.run_id DESC");
    call.sql = format!(
        "SELECT {SUMMARY} FROM {from} {HEADER} {conditions} ORDER BY {order} LIMIT {limit}"
    )
    .into();
    Ok(call)
}
