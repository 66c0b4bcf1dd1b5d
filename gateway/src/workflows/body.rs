//! Bodies of requests about workflows. What cannot be read is 400, as their clients know it.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    body::{from_object, parse_json, read_body},
    problem::{Problem, ProblemKind},
    state::App,
};

/// A JSON object, or nothing at all, which counts as an empty one.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// Any JSON, or nothing at all, which counts as null.
#[derive(Debug)]
pub(crate) struct AnyBody(pub(crate) Value);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let value = match read(request, app).await? {
            Value::Null => json!({}),
            value => value,
        };
        from_object(value).map(Self).map_err(malformed)
    }
}

impl FromRequest<App> for AnyBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        read(request, app).await.map(Self)
    }
}

async fn read(request: Request, app: &App) -> Result<Value, Problem> {
    let bytes = read_body(request, app).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    parse_json(&bytes).map_err(malformed)
}

/// A wrong field as 400.
pub(crate) fn malformed(problem: Problem) -> Problem {
    if problem.status != 422 {
        return problem;
    }
    let errors = problem.errors;
    let mut problem = Problem::new(ProblemKind::Malformed, problem.detail);
    problem.errors = errors;
    problem
}

/// 400 in these words.
pub(crate) fn bad_request(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Malformed, text)
}

/// 404 in these words.
pub(crate) fn not_found(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::NotFound, text)
}
