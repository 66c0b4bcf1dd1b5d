//! The form of the database.

use tokio_postgres::Client;

use super::partitions;
use crate::{Error, clock};

/// What makes the tables, and what changes older ones, in order. What was released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];
/// The lock that one process migrates under.
const LOCK: i64 = 0x6d65_7368_7275_6e73;

/// Brings the database to the form of this program.
pub(super) async fn migrate(client: &Client) -> Result<(), Error> {
    // Waiting for another that migrates, or making an index, may take longer than a statement should.
    let lock = format!("SET statement_timeout = 0; SELECT pg_advisory_lock({LOCK})");
    client.batch_execute(&lock).await?;
    let migrated = migrate_locked(client).await;
    let unlock = format!("SELECT pg_advisory_unlock({LOCK}); RESET statement_timeout");
    client.batch_execute(&unlock).await?;
    migrated
}

async fn migrate_locked(client: &Client) -> Result<(), Error> {
    client
        .batch_execute("CREATE TABLE IF NOT EXISTS mesh_runs_form (form integer PRIMARY KEY)")
        .await?;
    let forms = client
        .query_one("SELECT coalesce(max(form), 0) FROM mesh_runs_form", &[])
        .await?;
    let form: i32 = forms.try_get(0)?;
    let done = usize::try_from(form).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(Error::Damaged(format!(
            "it has the form {form}, and this program knows {}: use a newer one",
            MIGRATIONS.len()
        )));
    };
    for (number, migration) in (done + 1..).zip(missing) {
        let sql =
            format!("BEGIN; {migration}; INSERT INTO mesh_runs_form VALUES ({number}); COMMIT");
        if let Err(error) = client.batch_execute(&sql).await {
            client.batch_execute("ROLLBACK").await?;
            return Err(error.into());
        }
    }
    if !missing.is_empty() {
        partitions::make(client, clock::now()).await?;
    }
    Ok(())
}
