//! Content.

use rusqlite::{Connection, params};

use super::database::{execute, first, int};
use crate::{Error, clock, content, stores::retention};

/// Stores content once.
pub(super) fn put(db: &Connection, id: &str, content: &[u8]) -> Result<(), Error> {
    let now = clock::now();
    execute(
        db,
        "INSERT INTO blob (id, content, put_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET put_at = ?3 WHERE put_at < ?4",
        params![
            id,
            content,
            int(now),
            int(now.saturating_sub(retention::FRESH))
        ],
    )?;
    Ok(())
}

/// Content, checked.
pub(super) fn get(db: &Connection, id: &str) -> Result<Vec<u8>, Error> {
    let sql = "SELECT content FROM blob WHERE id = ?1";
    let found = first(db, sql, [id], |row| Ok(row.get::<_, Vec<u8>>(0)?))?;
    let content = found.ok_or_else(|| Error::NotFound(format!("there is no content {id}")))?;
    content::checked(id, content)
}

/// Notes which content a run names.
pub(super) fn name(db: &Connection, run_id: &str, records: &[&[u8]]) -> Result<(), Error> {
    for record in records {
        for id in content::named(record) {
            name_one(db, run_id, &id)?;
        }
    }
    Ok(())
}

/// Notes that a run names some content.
pub(super) fn name_one(db: &Connection, run_id: &str, id: &str) -> Result<(), Error> {
    let sql = "INSERT INTO blob_use (run_id, blob) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    execute(db, sql, params![run_id, id])?;
    Ok(())
}
