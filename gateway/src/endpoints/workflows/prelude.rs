//! What most of these endpoints use.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

pub(super) use serde_json::{Value, json};

pub(super) use crate::{
    endpoints::prelude::*,
    job_view::time,
    workflows::{
        body::{AnyBody, Body, bad_request, not_found},
        ids,
        owner::{MaybeOwner, Owner},
        views::{RunView, TagView},
    },
};

/// The parts of a path, decoded.
#[derive(Debug)]
pub(in crate::endpoints) struct Segments(Vec<(String, String)>);

/// The run that a path names.
#[derive(Debug)]
pub(in crate::endpoints) struct RunId(pub(super) String);

/// The workflow that a path names; its slashes come as `%2F`.
#[derive(Debug)]
pub(in crate::endpoints) struct TagName(pub(super) String);

impl Segments {
    /// The part of this name.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| bad_request("the path is not UTF-8"))?;
        let params = params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self(params.collect()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RunId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Segments::from_request_parts(parts, state).await?;
        run_id(segments.get("id"))
    }
}

/// Checks a run's id.
///
/// # Errors
/// 400.
pub(super) fn run_id(text: &str) -> Result<RunId, Problem> {
    match ids::is_uuid(text) {
        true => Ok(RunId(text.to_ascii_lowercase())),
        false => Err(bad_request("invalid run_id format")),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TagName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Segments::from_request_parts(parts, state).await?;
        let tag = crate::workflows::tags::of_path(segments.get("tag"))?;
        Ok(Self(tag.to_owned()))
    }
}
