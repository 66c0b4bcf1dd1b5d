//! The query of a request.

use std::{convert::Infallible, time::Duration};

use axum::extract::FromRequestParts;
use http::{StatusCode, request::Parts};
use tokio::time::Instant;
use url::form_urlencoded;

use super::error::ApiError;
use crate::{definition::duration, state::DATACENTER};

/// Longest wait of a blocking query, as with Consul.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// The wait of a blocking query that names none.
const WAIT: Duration = Duration::from_secs(300);

/// The parameters of a query. `?passing` is one with an empty value.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        Ok(Self(pairs.into_owned().collect()))
    }
}

impl Query {
    /// Every value of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        let found = all.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !matches!(value, "false" | "0"))
    }

    /// A number, where one is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let text = self.get(name).filter(|text| !text.is_empty());
        let number = text.map(str::parse).transpose();
        number.map_err(|_| ApiError::bad(format!("Invalid {name}: it has to be a whole number")))
    }

    /// The index that the client knows, and until when to wait for another; `None` for a query that does
    /// not block.
    pub(super) fn since(&self) -> Result<Option<(u64, Instant)>, ApiError> {
        let wait = match self.get("wait").filter(|wait| !wait.is_empty()) {
            None => WAIT,
            Some(wait) => {
                duration(wait).ok_or_else(|| ApiError::bad(format!("Invalid wait time: {wait}")))?
            }
        };
        let wait = if wait.is_zero() { WAIT } else { wait };
        let until = || Instant::now() + wait.min(MAX_WAIT);
        let index = self.number("index")?.filter(|index| *index > 0);
        Ok(index.map(|index| (index, until())))
    }

    /// Refuses what this registry cannot do, where its answer would be another.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let filter = self.get("filter").filter(|filter| !filter.is_empty());
        if filter.is_some() {
            return Err(ApiError::bad("this registry knows no filter expressions"));
        }
        match self.get("dc") {
            None | Some("" | DATACENTER) => Ok(()),
            // Consul's words and code.
            Some(_) => {
                let text = "No path to datacenter".to_owned();
                Err(ApiError(StatusCode::INTERNAL_SERVER_ERROR, text))
            }
        }
    }
}
