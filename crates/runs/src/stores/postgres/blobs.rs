//! Content.

use std::collections::HashMap;

use super::{
    call::{Call, column, int},
    pool::Lent,
};
use crate::{Error, clock, content, stores::retention};

/// Adds the statement that stores contents once.
pub(super) fn put<'a>(calls: &mut Vec<Call<'a>>, contents: HashMap<&'a str, &'a [u8]>) {
    if contents.is_empty() {
        return;
    }
    let now = clock::now();
    // Two transactions that store the same contents lock them in the same order.
    let mut contents: Vec<_> = contents.into_iter().collect();
    contents.sort_unstable();
    let (ids, contents): (Vec<&str>, Vec<&[u8]>) = contents.into_iter().unzip();
    let sql = "INSERT INTO blob (id, content, put_at)
        SELECT b.id, b.content, $3 FROM unnest($1::text[], $2::bytea[]) AS b(id, content)
        ON CONFLICT (id) DO UPDATE SET put_at = excluded.put_at WHERE blob.put_at < $4";
    let call = Call::new(sql).with(ids).with(contents).with(int(now));
    calls.push(call.with(int(now.saturating_sub(retention::FRESH))));
}

/// Contents, checked, in the order of their names.
pub(super) async fn get(session: &mut Lent, ids: &[String]) -> Result<Vec<Vec<u8>>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT b.content FROM unnest($1::text[]) WITH ORDINALITY AS w(id, place)
        LEFT JOIN blob b ON b.id = w.id ORDER BY w.place";
    let rows = session.rows(Call::new(sql).with(ids)).await?;
    let contents = ids.iter().zip(&rows).map(|(id, row)| {
        let content: Option<Vec<u8>> = column(row, 0)?;
        let unknown = || Error::NotFound(format!("there is no content {id}"));
        content::checked(id, content.ok_or_else(unknown)?)
    });
    contents.collect()
}
