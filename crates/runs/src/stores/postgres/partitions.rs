//! The partitions of events, one a week.

use tokio_postgres::Client;

use crate::Error;

const WEEK: u64 = 7 * 24 * 3_600_000;
/// How many weeks ahead there are partitions.
const AHEAD: u64 = 5;

/// Makes the partitions of this week and of those to come.
pub(super) async fn make(client: &Client, now: u64) -> Result<(), Error> {
    let this = now / WEEK;
    let sql = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent = 'event'::regclass";
    let known = client.query(sql, &[]).await?;
    let known: Vec<String> = known.iter().filter_map(|row| row.try_get(0).ok()).collect();
    for week in this..=this + AHEAD {
        if known.contains(&name(week)) {
            continue;
        }
        let (from, to) = (week * WEEK, (week + 1) * WEEK);
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} PARTITION OF event FOR VALUES FROM ({from}) TO ({to})",
            name(week)
        );
        if let Err(error) = bounded(client, &sql).await {
            // Where the default has events of that week already, they stay there.
            tracing::warn!(%error, week, "a partition of events cannot be made");
        }
    }
    Ok(())
}

/// Drops the partitions of weeks that are over and whose events are gone.
pub(super) async fn drop_empty(client: &Client, now: u64) -> Result<(), Error> {
    let sql = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent = 'event'::regclass";
    for row in client.query(sql, &[]).await? {
        let name: String = row.try_get(0)?;
        let week = name
            .strip_prefix("event_w")
            .and_then(|week| week.parse::<u64>().ok());
        if week.is_none_or(|week| week + 1 >= now / WEEK) {
            continue;
        }
        let sql = format!("SELECT 1 FROM {name} LIMIT 1");
        if client.query_opt(&sql, &[]).await?.is_none()
            && let Err(error) = bounded(client, &format!("DROP TABLE {name}")).await
        {
            tracing::warn!(%error, name, "a partition of events cannot be dropped");
        }
    }
    Ok(())
}

/// Others wait for such a change while it waits for them: it gives up soon, and is tried again later.
async fn bounded(client: &Client, sql: &str) -> Result<(), Error> {
    let sql = format!("BEGIN; SET LOCAL lock_timeout = '1s'; {sql}; COMMIT");
    let done = client.batch_execute(&sql).await;
    if done.is_err() {
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(done?)
}

fn name(week: u64) -> String {
    format!("event_w{week}")
}
