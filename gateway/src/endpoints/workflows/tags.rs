//! Names of workflows are moved from version to version, and back.

use runs::{Scope, Tag, TagTarget};

use super::prelude::*;
use crate::workflows::tags;

const MAX_LISTED: usize = 10_000;
const MAX_MOVES: usize = 1_000;

/// List names.
///
/// One's own and those that all may use.
#[utoipa::path(get, path = "/api/v1/tags", tag = "workflows", operation_id = "listTags",
    responses((status = 200, description = "All of them", body = Object,
        example = json!({"tags": [TagView::example()], "count": 1}))))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(owner): Owner,
) -> JsonResult<Value> {
    let store = app.workflows.store();
    let tags = app
        .workflows
        .ask(store.tags(&Scope::All(owner), None, MAX_LISTED))
        .await?;
    let views: Vec<TagView> = tags.iter().map(TagView::of).collect();
    Ok(JsonResponse::ok(
        json!({"count": views.len(), "tags": views}),
    ))
}

/// Get a name.
#[utoipa::path(get, path = "/api/v1/tags/{tag}", tag = "workflows", operation_id = "getTag",
    params(("tag" = String, Path, description = "The name, with each slash as %2F")),
    responses((status = 200, description = "What it names", body = TagView)))]
pub(in crate::endpoints) async fn get(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
) -> JsonResult<TagView> {
    let tag = app.workflows.tag(&owner, &tag).await?;
    Ok(JsonResponse::ok(TagView::of(&tag)))
}

/// Where a name goes.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct Move {
    /// A version of this name, by its number.
    #[schema(minimum = 1, example = 2)]
    version: u64,
}

/// Move a name.
#[utoipa::path(post, path = "/api/v1/tags/{tag}/move", tag = "workflows", operation_id = "moveTag",
    request_body = Move,
    params(("tag" = String, Path, description = "The name, with each slash as %2F")),
    responses((status = 200, description = "What it names now", body = TagView)))]
pub(in crate::endpoints) async fn move_to(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    Body(body): Body<Move>,
) -> JsonResult<TagView> {
    moved(&app, &owner, &tag, TagTarget::Version(body.version)).await
}

/// Undo the last move of a name.
#[utoipa::path(post, path = "/api/v1/tags/{tag}/undo", tag = "workflows", operation_id = "undoTag",
    params(("tag" = String, Path, description = "The name, with each slash as %2F")),
    responses((status = 200, description = "What it names now", body = TagView)))]
pub(in crate::endpoints) async fn undo(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
) -> JsonResult<TagView> {
    moved(&app, &owner, &tag, TagTarget::Undo).await
}

/// Redo what was undone.
#[utoipa::path(post, path = "/api/v1/tags/{tag}/redo", tag = "workflows", operation_id = "redoTag",
    params(("tag" = String, Path, description = "The name, with each slash as %2F")),
    responses((status = 200, description = "What it names now", body = TagView)))]
pub(in crate::endpoints) async fn redo(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
) -> JsonResult<TagView> {
    moved(&app, &owner, &tag, TagTarget::Redo).await
}

async fn moved(app: &App, owner: &str, tag: &str, to: TagTarget) -> JsonResult<TagView> {
    let store = app.workflows.store();
    let moved: Result<Tag, Problem> = app
        .workflows
        .ask(store.move_tag(owner, tag, to, owner))
        .await;
    Ok(JsonResponse::ok(TagView::of(&moved?)))
}

/// Get the moves of a name.
#[utoipa::path(get, path = "/api/v1/tags/{tag}/history", tag = "workflows",
    operation_id = "tagHistory",
    params(("tag" = String, Path, description = "The name, with each slash as %2F")),
    responses((status = 200, description = "The latest first", body = Object, example = json!({
        "tag": "main", "owner": "test-user", "count": 1, "moves": [{"version": 1, "from": null, "to": 1,
            "moved_by": "test-user", "moved_at": "2026-01-02T03:04:05.678Z", "why": "set"}]}))))]
pub(in crate::endpoints) async fn history(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
) -> JsonResult<Value> {
    let tag = app.workflows.tag(&owner, &tag).await?;
    let store = app.workflows.store();
    let moves = store.tag_moves(&tag.owner, &tag.tag, MAX_MOVES);
    let moves = app
        .workflows
        .ask(moves)
        .await
        .map_err(|problem| match problem.status {
            404 => tags::unknown(),
            _ => problem,
        })?;
    let moves: Vec<Value> = moves
        .iter()
        .map(|it| {
            json!({
                "version": it.version,
                "from": it.from,
                "to": it.to,
                "moved_by": it.moved_by,
                "moved_at": time(it.moved_at),
                "why": it.why,
            })
        })
        .collect();
    Ok(JsonResponse::ok(json!({
        "tag": tag.tag, "owner": tag.owner, "count": moves.len(), "moves": moves,
    })))
}
