//! What most endpoints use.

pub(super) use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};
pub(super) use serde::{Deserialize, Serialize};
pub(super) use utoipa::{IntoParams, ToSchema};

pub(super) use crate::{
    body::{Id, Json},
    json_response::{JsonResponse, JsonResult},
    problem::{Problem, ProblemKind},
    query::QueryParams,
    request_context::RequestContext,
    state::App,
};
