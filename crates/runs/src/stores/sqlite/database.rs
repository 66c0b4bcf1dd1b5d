//! The file, its connections and its form.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Params, Row, TransactionBehavior, params, types::Value};
use tokio::sync::Semaphore;

use super::StoreOptions;
use crate::{Error, clock};

/// The file within the folder.
const FILE: &str = "workflows.sqlite3";
/// What makes the database, and what changes older ones, in order. What was released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];
/// How many read at a time.
const READERS: usize = 4;
/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS: usize = 256;

/// Connections that read.
#[derive(Debug)]
pub(super) struct Database {
    file: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    places: Arc<Semaphore>,
}

impl Database {
    /// Opens a folder. Gives the connection that writes, and what keeps other processes out.
    pub(super) fn open(
        folder: &Path,
        options: &StoreOptions,
    ) -> Result<(Self, Connection, File), Error> {
        let failed = |error: std::io::Error| {
            Error::Unavailable(format!("open {}: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Unavailable(format!(
                "another process has {} open: use PostgreSQL for more than one",
                folder.display()
            )),
            TryLockError::Error(error) => failed(error),
        })?;
        let file = folder.join(FILE);
        let mut connection = Connection::open(&file)?;
        // SQLite counts it in 31 bits of milliseconds.
        connection.busy_timeout(options.timeout.min(Duration::from_secs(3600)))?;
        prepare(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        // Fewer and longer copies from the log into the file.
        connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
        migrate(&mut connection)?;
        let database = Self {
            file,
            idle: Arc::default(),
            places: Arc::new(Semaphore::new(READERS)),
        };
        Ok((database, connection, lock))
    }

    /// Reads one state.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| closed())?;
        let (file, idle) = (self.file.clone(), self.idle.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            let connection = idle.lock().pop();
            let mut connection = connection.map_or_else(|| reader(&file), Ok)?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let found = work(&transaction);
            // There is nothing to keep of it.
            transaction.finish()?;
            idle.lock().push(connection);
            found
        });
        reading.await.map_err(|_| closed())?
    }
}

/// What an answer is when the process ends.
pub(super) fn closed() -> Error {
    Error::Unavailable("it is being closed".to_owned())
}

fn reader(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    // Nobody else migrates: the folder is locked.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(Error::Damaged(format!(
            "it has the form {version}, and this program knows {}: use a newer one",
            MIGRATIONS.len()
        )));
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", count(MIGRATIONS.len()))?;
    transaction.commit()?;
    Ok(())
}

/// Writes something.
pub(super) fn check(db: &Connection) -> Result<(), Error> {
    let sql = "INSERT INTO checked (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = ?1";
    execute(db, sql, params![int(clock::now())])?;
    Ok(())
}

/// Runs a statement; how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize, Error> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// The rows of a query.
pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The first row of a query.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// A number as SQLite has it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that may not be there.
pub(super) fn maybe_int(number: Option<u64>) -> Option<i64> {
    number.map(int)
}

/// A number as we have it.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number of rows as SQLite has it.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column with a number.
pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    Ok(uint(row.get(column)?))
}

/// A column with a number or nothing.
pub(super) fn maybe_number(row: &Row<'_>, column: usize) -> Result<Option<u64>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(uint))
}

/// A column with a text of JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> Result<T, Error> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(rusqlite::Error::from)?;
    serde_json::from_str(text).map_err(|error| Error::Damaged(error.to_string()))
}

/// Parameters of a query that is put together.
pub(super) type Values = Vec<Value>;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode;
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Self::Damaged(error.to_string())
                }
                ErrorCode::DiskFull => Self::Unavailable(format!(
                    "{error}: make room on its disk, then it goes on by itself"
                )),
                _ => Self::Unavailable(error.to_string()),
            },
            _ => Self::Damaged(error.to_string()),
        }
    }
}
