//! Statements with their parameters, and what may come of them.

use std::borrow::Cow;

use tokio_postgres::{
    error::SqlState,
    types::{FromSql, ToSql},
};

use crate::Error;

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) sql: Cow<'static, str>,
    /// It has no parameters, and is not prepared.
    pub(super) plain: bool,
    /// It may be a part of a statement with others: it looks at nothing that they write.
    pub(super) beside: bool,
    params: Vec<Box<dyn ToSql + Send + Sync + 'a>>,
}

impl<'a> Call<'a> {
    /// A statement that is prepared once.
    pub(super) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sql: sql.into(),
            plain: false,
            beside: false,
            params: Vec::new(),
        }
    }

    /// One of those without parameters.
    pub(super) fn plain(sql: &'static str) -> Self {
        Self {
            plain: true,
            ..Self::new(sql)
        }
    }

    /// One that may be a part of a statement with others.
    pub(super) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// This one as a list of `WITH` that has it alone, by a name.
    pub(super) fn named(mut self, name: &str) -> Self {
        self.sql = format!("WITH {name} AS ({})", self.sql).into();
        self
    }

    /// This one, whose text is a list of `WITH`, with others as further parts of the list, and what is
    /// selected in the end. One statement costs a server far less than several.
    pub(super) fn joined(mut self, parts: Vec<Self>, end: Self) -> Self {
        let mut sql = self.sql.into_owned();
        for (number, part) in parts.into_iter().enumerate() {
            sql.push_str(&format!(", part{number} AS ("));
            renumber(&part.sql, self.params.len(), &mut sql);
            sql.push(')');
            self.params.extend(part.params);
        }
        sql.push(' ');
        renumber(&end.sql, self.params.len(), &mut sql);
        self.params.extend(end.params);
        self.sql = sql.into();
        self
    }

    /// With one parameter more.
    pub(super) fn with(mut self, param: impl ToSql + Send + Sync + 'a) -> Self {
        self.params.push(Box::new(param));
        self
    }

    /// Adds a parameter: its place in the statement.
    pub(super) fn put(&mut self, param: impl ToSql + Send + Sync + 'a) -> String {
        self.params.push(Box::new(param));
        format!("${}", self.params.len())
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(self.params.len());
        for param in &self.params {
            params.push(&**param);
        }
        params
    }
}

/// Adds a text whose parameters come after so many others.
fn renumber(sql: &str, before: usize, out: &mut String) {
    let mut parts = sql.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number = number.parse::<usize>().unwrap_or_default() + before;
        out.push_str(&format!("${number}{rest}"));
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Others were in the way: it works when it is done again.
    Again(String),
    /// A commit's shards are not all held.
    NotHeld,
    /// What the store answers.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Again(reason) => Self::Unavailable(reason),
            Trouble::NotHeld => Self::Unavailable("its shards are not held".to_owned()),
            Trouble::Failed(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)) => {
                Self::Again(error.to_string())
            }
            // What the commit's first statement does when they are not.
            Some(&SqlState::DIVISION_BY_ZERO) => Self::NotHeld,
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        use std::error::Error as _;

        let Some(said) = error.as_db_error() else {
            let cause = error.source().map(ToString::to_string);
            let reason = match cause {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            return match error.is_closed() || cause_is_io(&error) || error.code().is_none() {
                true => Self::Unavailable(reason),
                false => Self::Damaged(reason),
            };
        };
        let reason = format!("{} ({})", said.message(), said.code().code());
        let class = said.code().code().get(..2).unwrap_or_default();
        match (class, said.code()) {
            (
                "22",
                &(SqlState::CHARACTER_NOT_IN_REPERTOIRE | SqlState::UNTRANSLATABLE_CHARACTER),
            ) => Self::Invalid(reason),
            // What it is asked is right: it holds other tables, or its files are damaged.
            ("22" | "42" | "XX" | "21" | "23", _) => Self::Damaged(reason),
            _ => Self::Unavailable(reason),
        }
    }
}

fn cause_is_io(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;

    error
        .source()
        .is_some_and(|cause| cause.is::<std::io::Error>())
}

/// A column of a row, by its place.
pub(super) fn column<'r, T: FromSql<'r>>(
    row: &'r tokio_postgres::Row,
    place: usize,
) -> Result<T, Error> {
    row.try_get(place)
        .map_err(|error| Error::Damaged(error.to_string()))
}

/// A number that is never negative.
pub(super) fn number(row: &tokio_postgres::Row, place: usize) -> Result<u64, Error> {
    Ok(uint(column(row, place)?))
}

/// A number or nothing.
pub(super) fn maybe_number(row: &tokio_postgres::Row, place: usize) -> Result<Option<u64>, Error> {
    Ok(column::<Option<i64>>(row, place)?.map(uint))
}

/// A shard.
pub(super) fn shard(row: &tokio_postgres::Row, place: usize) -> Result<u16, Error> {
    Ok(column::<i16>(row, place)?.cast_unsigned())
}

/// A text of JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &tokio_postgres::Row,
    place: usize,
) -> Result<T, Error> {
    let text: &str = column(row, place)?;
    serde_json::from_str(text).map_err(|error| Error::Damaged(error.to_string()))
}

/// A number as PostgreSQL has it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many, as PostgreSQL has it.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A text as PostgreSQL takes it: it knows no NUL.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}
