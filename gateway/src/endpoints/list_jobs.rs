//! `GET /api/v1/jobs`

use jobs::{JobFilter, JobStatus};

use super::prelude::*;
use crate::{
    job_view::{JobView, StatusWord},
    submit::KindWord,
};

/// The most jobs on a page.
const MAX_PAGE: usize = 1_000;
/// How many are on a page unless the query says.
const DEFAULT_PAGE: usize = 100;

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// With this status.
    #[param(value_type = Option<StatusWord>)]
    status: Option<String>,
    /// Of this queue.
    #[param(pattern = "^[a-z0-9_-]{1,64}$")]
    queue: Option<String>,
    /// Of this kind.
    #[param(value_type = Option<KindWord>)]
    kind: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"jobs": [JobView::example()], "next_cursor": null}))]
pub(super) struct PageView {
    /// By queue, the latest submitted first. With a status: the next in line first, or the latest
    /// ended first. A page may have fewer jobs than asked for, or none, while there are more. A job that
    /// exists throughout is on one of the pages, whatever changes meanwhile.
    jobs: Vec<JobView>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// List jobs.
///
/// Page by page; an empty parameter counts as absent.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(ListParams),
    responses((status = 200, description = "A page", body = PageView)))]
pub(super) async fn list(
    State(app): State<App>,
    QueryParams(wanted): QueryParams<ListParams>,
) -> JsonResult<PageView> {
    let limit = wanted.limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 || limit > MAX_PAGE {
        let reason = format!("{limit} is not 1 to {MAX_PAGE}");
        return Err(Problem::field("limit", reason));
    }
    let status = wanted.status.as_deref().map(|word| {
        let known = JobStatus::parse(word);
        known.ok_or_else(|| {
            let words = JobStatus::ALL.map(JobStatus::as_str).join(", ");
            Problem::field(
                "status",
                format!("{word:?} is not a status: use one of {words}"),
            )
        })
    });
    let kind = wanted.kind.as_deref().map(work::kind).transpose()?;
    let filter = JobFilter {
        queue: wanted.queue.as_deref().map(|queue| app.queue(Some(queue))),
        status: status.transpose()?,
        kind: kind.map(|kind| kind.name.to_owned()),
    };
    let cursor = wanted.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let listed = app
        .with_timeout(app.jobs.list(&filter, limit, cursor))
        .await?;
    Ok(JsonResponse::ok(PageView {
        jobs: listed.jobs.iter().map(JobView::of).collect(),
        next_cursor: listed.next,
    }))
}
