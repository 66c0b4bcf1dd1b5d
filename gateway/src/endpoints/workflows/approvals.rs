//! What runs ask people, and what they decide.

use runs::ApprovalFilter;

use super::{prelude::*, runs::limit};
use crate::workflows::approvals::{ApprovalView, Said};

/// Which approvals.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ListParams {
    /// `pending` or `all`.
    #[param(default = "pending")]
    status: Option<String>,
    /// Of this run.
    run_id: Option<String>,
    /// Those that this user may decide.
    approver: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

/// A page of approvals.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"approvals": [ApprovalView::example()], "count": 1, "next_cursor": null}))]
pub(in crate::endpoints) struct ApprovalsPage {
    /// The oldest first.
    approvals: Vec<ApprovalView>,
    /// How many are on the page.
    count: usize,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// List approvals.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", operation_id = "listApprovals",
    params(ListParams), responses((status = 200, description = "A page", body = ApprovalsPage)))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(_): Owner,
    QueryParams(wanted): QueryParams<ListParams>,
) -> JsonResult<ApprovalsPage> {
    let pending = match wanted.status.as_deref() {
        None | Some("pending") => true,
        Some("all") => false,
        Some(other) => {
            return Err(bad_request(format!(
                "status: {other:?} is not pending or all"
            )));
        }
    };
    let limit = limit(wanted.limit, 100)?;
    let filter = ApprovalFilter {
        run_id: wanted.run_id,
        approver: wanted.approver,
        pending,
        cursor: wanted.cursor,
        limit,
    };
    let listed = app
        .workflows
        .ask(app.workflows.store().approvals(&filter))
        .await?;
    let last = listed.last().filter(|_| listed.len() == limit);
    Ok(JsonResponse::ok(ApprovalsPage {
        count: listed.len(),
        next_cursor: last.map(|approval| approval.asked.key.clone()),
        approvals: listed.iter().map(ApprovalView::of).collect(),
    }))
}

/// What a link carries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct TokenParams {
    /// The token of a signed link, in the place of X-User-ID.
    token: Option<String>,
}

/// The person that a request is of: that of its link, else that of its header.
fn person(
    app: &App,
    id: &str,
    token: Option<&str>,
    named: Option<String>,
) -> Result<String, Problem> {
    let missing = || {
        let text = "authentication required (X-User-ID header missing)";
        Problem::new(ProblemKind::Unauthenticated, text)
    };
    match token {
        Some(token) => app.workflows.person_of(id, token),
        None => named.ok_or_else(missing),
    }
}

/// Get an approval.
#[utoipa::path(get, path = "/api/v1/approvals/{id}", tag = "approvals", operation_id = "getApproval",
    params(("id" = String, Path, description = "An approval's id"), TokenParams),
    responses((status = 200, description = "The approval", body = ApprovalView)))]
pub(in crate::endpoints) async fn get(
    State(app): State<App>,
    MaybeOwner(named): MaybeOwner,
    path: Segments,
    QueryParams(wanted): QueryParams<TokenParams>,
) -> JsonResult<ApprovalView> {
    person(&app, path.get("id"), wanted.token.as_deref(), named)?;
    let approval = app.workflows.approval(path.get("id")).await?;
    Ok(JsonResponse::ok(ApprovalView::of(&approval)))
}

/// Decide on an approval.
///
/// The same again by the same person is the same answer, another is 409.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/decide", tag = "approvals", operation_id = "decide",
    request_body = Said,
    params(("id" = String, Path, description = "An approval's id"), TokenParams),
    responses((status = 200, description = "The approval", body = ApprovalView)))]
pub(in crate::endpoints) async fn decide(
    State(app): State<App>,
    MaybeOwner(named): MaybeOwner,
    path: Segments,
    QueryParams(wanted): QueryParams<TokenParams>,
    Body(said): Body<Said>,
) -> JsonResult<ApprovalView> {
    let person = person(&app, path.get("id"), wanted.token.as_deref(), named)?;
    let approval = app.workflows.approval(path.get("id")).await?;
    let decided = app.workflows.decide(&approval, &person, said).await?;
    Ok(JsonResponse::ok(ApprovalView::of(&decided)))
}

/// For whom a link is.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct NewLink {
    /// The person that decides by it; who asks when absent.
    #[serde(default)]
    #[schema(nullable = false, example = "ada")]
    person: Option<String>,
    /// How long it may be used; a day when absent.
    #[serde(default)]
    #[schema(
        minimum = 1,
        maximum = 2592000000_u64,
        default = 86400000,
        nullable = false
    )]
    expires_ms: Option<u64>,
}

/// The longest that a link may be used: 30 days.
const MAX_LINK: u64 = 30 * 86_400_000;

/// Sign a link to an approval.
///
/// Whoever has it decides as that person, until it expires. It needs `approval_secret`.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/link", tag = "approvals", operation_id = "signLink",
    request_body = NewLink,
    params(("id" = String, Path, description = "An approval's id")),
    responses((status = 201, description = "The link, a path of this gateway", body = Object,
        example = json!({"url": "/api/v1/approvals/0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61.ask.0/decide?token=19b…",
            "page": "/approvals/0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61.ask.0?token=19b…",
            "token": "19b…", "person": "ada", "expires_at": "2026-01-03T03:04:05.678Z"}))))]
pub(in crate::endpoints) async fn link(
    State(app): State<App>,
    Owner(asker): Owner,
    path: Segments,
    Body(body): Body<NewLink>,
) -> JsonResult<Value> {
    let approval = app.workflows.approval(path.get("id")).await?;
    let person = body.person.unwrap_or_else(|| asker.clone());
    if asker != person && asker != approval.owner {
        let text = "only whose run it is signs links for others";
        return Err(Problem::new(ProblemKind::Forbidden, text));
    }
    let expires = body.expires_ms.unwrap_or(86_400_000);
    if expires == 0 || expires > MAX_LINK {
        return Err(bad_request(format!(
            "expires_ms: {expires} is not 1 to {MAX_LINK}"
        )));
    }
    let until = ids::now() + expires;
    let link = app.workflows.sign(&approval, &person, until)?;
    Ok(JsonResponse::created(json!({
        "url": link.url,
        "page": link.page,
        "token": link.token,
        "person": person,
        "expires_at": time(until),
    })))
}
