//! The statements that find runs: the same for every database that speaks SQL, but for some words.
//!
//! A page is read along an index in its order. A part of a text has no index: it is looked for among the
//! latest runs that fit the rest, and then where there may be more, which are tags, errors and ids.

use super::page;
use crate::{Error, RunFilter, store::MAX_COUNT};

/// How many of the latest runs a part of a text is looked for in.
const WINDOW: i64 = 10_000;
/// How many of the latest errors.
const ERRORS: i64 = 20_000;
/// How many tags there may be to look at, and how many of those that fit are taken.
const TAGS: [i64; 2] = [5_000, 20];
/// The beginning of an id is looked for from this length on: a shorter one is that of many.
const ID: usize = 8;

/// The columns of a run in a list, of `run r` and its header `h`.
pub(crate) const SUMMARY: &str = "r.run_id, r.owner, r.submitted_by, r.tag, r.base_kind, r.base_ref,
    r.tags_snapshot, r.status, r.error, r.submitted_at, r.started_at, r.ended_at, r.labels, h.active,
    r.parent_run, r.parent_key";
/// Where the header comes from.
pub(crate) const HEADER: &str = "LEFT JOIN node h ON h.run_id = r.run_id AND h.key = ''";
/// The same for a planner that reads the headers of all runs when it takes them to be few, as in a new database.
pub(crate) const HEADER_OF_EACH: &str = "LEFT JOIN LATERAL (SELECT n.record, n.active FROM node n
    WHERE n.run_id = r.run_id AND n.key = '' LIMIT 1) AS h ON true";

/// The words in which databases differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// What the places of parameters begin with.
    pub(crate) place: char,
    /// The function that says where a text has another.
    pub(crate) position: &'static str,
    /// [`HEADER`], or the like.
    pub(crate) header: &'static str,
    /// What keeps an index from being used for a column, where the database does not know better.
    pub(crate) unindexed: &'static str,
}

/// A parameter.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

/// A statement and its parameters.
#[derive(Debug)]
pub(crate) struct Find {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// What is being put together.
struct Parts {
    dialect: Dialect,
    values: Vec<Value>,
    from: &'static str,
    /// What has the order of the page: the runs, or the rows of a label.
    order: &'static str,
    conditions: Vec<String>,
}

/// A page of runs, and one run more.
pub(crate) fn runs(filter: &RunFilter, limit: usize, dialect: Dialect) -> Result<Find, Error> {
    let mut parts = Parts::new(filter, dialect)?;
    let limit = parts.put(Value::Number(one_more(limit)));
    let (from, conditions, order) = (parts.from, parts.conditions(), parts.order());
    let header = dialect.header;
    Ok(Find {
        sql: format!(
            "SELECT {SUMMARY} FROM {from} {header} {conditions} ORDER BY {order} LIMIT {limit}"
        ),
        values: parts.values,
    })
}

/// How many runs fit, so many at most.
pub(crate) fn count(filter: &RunFilter, dialect: Dialect) -> Result<Find, Error> {
    let filter = RunFilter {
        cursor: None,
        ..filter.clone()
    };
    let parts = Parts::new(&filter, dialect)?;
    let (from, conditions, order) = (parts.from, parts.conditions(), parts.order());
    Ok(Find {
        // In the order of a page, by which its index is found.
        sql: format!(
            "SELECT count(*) FROM (SELECT 1 FROM {from} {conditions} ORDER BY {order} LIMIT {MAX_COUNT}) AS fits"
        ),
        values: parts.values,
    })
}

/// Those of the latest runs that have a part of a text anywhere.
pub(crate) fn among_latest(
    filter: &RunFilter,
    part: &str,
    limit: usize,
    dialect: Dialect,
) -> Result<Find, Error> {
    let parts = Parts::new(filter, dialect)?;
    parts.within(
        WINDOW,
        &["r.run_id", "lower(r.tag)", "lower(r.error)"],
        part,
        limit,
    )
}

/// The tags that have a part of a text.
pub(crate) fn tags(part: &str, dialect: Dialect) -> Find {
    let Dialect {
        place, position, ..
    } = dialect;
    let sql = format!(
        "WITH RECURSIVE known (tag, count) AS (
            SELECT min(tag), 1 FROM run
            UNION ALL
            SELECT (SELECT min(r.tag) FROM run r WHERE r.tag > k.tag), k.count + 1 FROM known k
            WHERE k.tag IS NOT NULL AND k.count < {}
        ) SELECT tag FROM known WHERE {position}(lower(tag), {place}1) > 0 LIMIT {}",
        TAGS[0], TAGS[1]
    );
    let values = vec![Value::Text(part.to_lowercase())];
    Find { sql, values }
}

/// Where runs with a part of a text may be besides the latest: those of tags, of errors, of an id that begins
/// with it.
pub(crate) fn elsewhere(
    filter: &RunFilter,
    part: &str,
    tags: &[String],
    limit: usize,
    dialect: Dialect,
) -> Result<Vec<Find>, Error> {
    let mut finds = Vec::new();
    if !filter.labels.is_empty() {
        return Ok(finds);
    }
    for tag in tags {
        if filter.tag.as_ref().is_none_or(|wanted| wanted == tag) {
            let tagged = RunFilter {
                tag: Some(tag.clone()),
                ..filter.clone()
            };
            finds.push(runs(&tagged, limit, dialect)?);
        }
    }
    let mut failed = Parts::new(filter, dialect)?;
    failed.conditions.push("r.error IS NOT NULL".to_owned());
    finds.push(failed.within(ERRORS, &["lower(r.error)"], part, limit)?);
    if part.len() >= ID {
        let mut begun = Parts::new(filter, dialect)?;
        let from = begun.put(Value::Text(part.to_lowercase()));
        let upto = begun.put(Value::Text(format!("{}\u{10ffff}", part.to_lowercase())));
        let limit = begun.put(Value::Number(one_more(limit)));
        let (conditions, order) = (begun.conditions(), begun.order());
        let header = dialect.header;
        finds.push(Find {
            sql: format!(
                "WITH begun AS MATERIALIZED (SELECT run_id FROM run WHERE run_id >= {from} AND run_id < {upto} LIMIT {WINDOW})
                SELECT {SUMMARY} FROM begun b JOIN run r ON r.run_id = b.run_id {header} {conditions}
                ORDER BY {order} LIMIT {limit}"
            ),
            values: begun.values,
        });
    }
    Ok(finds)
}

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit + 1).unwrap_or(i64::MAX)
}

impl Parts {
    fn new(filter: &RunFilter, dialect: Dialect) -> Result<Self, Error> {
        let mut parts = Self {
            dialect,
            values: Vec::new(),
            from: "run r",
            order: "r",
            conditions: Vec::new(),
        };
        for (at, (key, value)) in filter.labels.iter().enumerate() {
            let key = parts.put(Value::Text(key.clone()));
            let value = parts.put(Value::Text(value.clone()));
            if at == 0 {
                // The labels are in the order of the page: it is read from them.
                parts.from = "run_label l CROSS JOIN run r";
                parts.order = "l";
                let first = format!("r.run_id = l.run_id AND l.key = {key} AND l.value = {value}");
                parts.conditions.push(first);
            } else {
                parts.conditions.push(format!(
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
                let wanted = parts.put(Value::Text(wanted.clone()));
                // Most runs end well: of one tag or owner there are fewer.
                let many = status.as_deref() == Some("COMPLETED");
                let named = filter.tag.is_some() || filter.owner.is_some();
                let index = match column == "status" && many && named {
                    true => dialect.unindexed,
                    false => "",
                };
                parts
                    .conditions
                    .push(format!("{index}r.{column} = {wanted}"));
            }
        }
        let order = parts.order;
        for (compared, at) in [(">=", filter.since), ("<", filter.until)] {
            if let Some(at) = at {
                let at = parts.put(Value::Number(i64::try_from(at).unwrap_or(i64::MAX)));
                parts
                    .conditions
                    .push(format!("{order}.submitted_at {compared} {at}"));
            }
        }
        if let Some(cursor) = &filter.cursor {
            let (at, run_id) = page::position(cursor)?;
            let at = parts.put(Value::Number(i64::try_from(at).unwrap_or(i64::MAX)));
            let run_id = parts.put(Value::Text(run_id));
            let after = format!("({order}.submitted_at, {order}.run_id) < ({at}, {run_id})");
            parts.conditions.push(after);
        }
        Ok(parts)
    }

    fn put(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("{}{}", self.dialect.place, self.values.len())
    }

    fn conditions(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.conditions.join(" AND ")),
        }
    }

    fn order(&self) -> String {
        format!("{0}.submitted_at DESC, {0}.run_id DESC", self.order)
    }

    /// Of so many latest runs those that have a part of a text in one of these.
    fn within(
        mut self,
        window: i64,
        texts: &[&str],
        part: &str,
        limit: usize,
    ) -> Result<Find, Error> {
        let part = self.put(Value::Text(part.to_lowercase()));
        let limit = self.put(Value::Number(one_more(limit)));
        let position = self.dialect.position;
        let fits = texts
            .iter()
            .map(|text| format!("{position}({text}, {part}) > 0"));
        let fits = fits.collect::<Vec<_>>().join(" OR ");
        let (from, conditions, order) = (self.from, self.conditions(), self.order());
        let header = self.dialect.header;
        // Of most runs only what is compared is read.
        Ok(Find {
            sql: format!(
                "SELECT {SUMMARY} FROM (
                    SELECT r.run_id FROM (
                        SELECT r.run_id, r.submitted_at, r.tag, r.error FROM {from} {conditions} ORDER BY {order} LIMIT {window}
                    ) AS r WHERE {fits} ORDER BY r.submitted_at DESC, r.run_id DESC LIMIT {limit}
                ) AS f JOIN run r ON r.run_id = f.run_id {header} ORDER BY r.submitted_at DESC, r.run_id DESC"
            ),
            values: self.values,
        })
    }
}
