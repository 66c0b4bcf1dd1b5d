//! Workflows: versions, and tags that name them.

use std::{collections::HashMap, sync::Arc};

use tokio_postgres::Row;

use super::{
    blobs,
    call::{Call, Trouble, column, count, int, maybe_number, number, text},
    commit::AGAIN,
    pool::{Lent, Pool},
};
use crate::{
    Artifact, Error, NewVersion, Scope, Tag, TagMove, TagTarget, Version, clock, content_id, ids,
    stores::naming::{self, GLOBAL, Parent},
    tag_history::TagHistory,
};

const TAG: &str =
    "t.tag, t.owner, v.artifact_id, v.kind, v.content, v.created_by, v.created_at, t.seq,
    t.version, t.moved_at, t.created_by, t.moved_by, t.workflow, v.depth";
const FROM: &str = "tag t JOIN version v ON v.workflow = t.workflow AND v.seq = t.seq";

/// A tag, the workflow behind it, and how many patches are in what it names.
struct Found {
    tag: Tag,
    workflow: i64,
    depth: u32,
}

fn read_tag(row: &Row) -> Result<Found, Error> {
    let tag = Tag {
        tag: column(row, 0)?,
        owner: column(row, 1)?,
        target: read_artifact(row, 2)?,
        seq: number(row, 7)?,
        version: number(row, 8)?,
        moved_at: number(row, 9)?,
        created_by: column(row, 10)?,
        moved_by: column(row, 11)?,
    };
    Ok(Found {
        tag,
        workflow: column(row, 12)?,
        depth: column::<i32>(row, 13)?.cast_unsigned(),
    })
}

fn read_artifact(row: &Row, from: usize) -> Result<Artifact, Error> {
    Ok(Artifact {
        artifact_id: column(row, from)?,
        kind: column(row, from + 1)?,
        cas_id: column(row, from + 2)?,
        created_by: column(row, from + 3)?,
        created_at: number(row, from + 4)?,
    })
}

fn find<'a>(owner: &'a str, tag: &'a str, lock: &'static str) -> Call<'a> {
    let sql = format!("SELECT {TAG} FROM {FROM} WHERE t.owner = $1 AND t.tag = $2 {lock}");
    Call::new(sql).with(text(owner)).with(text(tag))
}

/// What a tag names.
pub(super) async fn get(session: &mut Lent, owner: &str, tag: &str) -> Result<Tag, Error> {
    Ok(found(session, owner, tag).await?.tag)
}

async fn found(session: &mut Lent, owner: &str, tag: &str) -> Result<Found, Error> {
    let row = session.first(find(owner, tag, "")).await?;
    row.map_or_else(
        || Err(naming::unknown_tag(owner, tag)),
        |row| read_tag(&row),
    )
}

/// Begins a transaction that has the name of the tag for itself.
async fn lock(session: &mut Lent, owner: &str, tag: &str) -> Result<Option<Found>, Trouble> {
    // There may be no row to lock yet.
    let name = "SELECT pg_advisory_xact_lock(hashtextextended($1 || E'\\n' || $2, 7310577))";
    let name = Call::new(name).with(text(owner)).with(text(tag));
    let calls = [Call::plain("BEGIN"), name, find(owner, tag, "")];
    let rows = session.run(&calls).await?;
    let row = rows.get(2).and_then(|rows| rows.first());
    Ok(row.map(read_tag).transpose()?)
}

/// Ends a transaction in vain.
async fn refuse<T>(session: &mut Lent, why: Error) -> Result<T, Trouble> {
    session.roll_back().await?;
    Err(why.into())
}

/// Stores a version, and moves the tag to it.
pub(super) async fn put_version(
    pool: &Arc<Pool>,
    owner: &str,
    tag: &str,
    new: &NewVersion,
) -> Result<Version, Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let mut session = pool.session().await?;
        match try_put_version(&mut session, owner, tag, new).await {
            Err(Trouble::Again(_)) if tried < AGAIN => {}
            version => return Ok(version?),
        }
    }
}

async fn try_put_version(
    session: &mut Lent,
    owner: &str,
    tag: &str,
    new: &NewVersion,
) -> Result<Version, Trouble> {
    let now = clock::now();
    let known = lock(session, owner, tag).await?;
    let parent = Parent {
        seq: known.as_ref().map(|known| known.tag.seq),
        depth: known.as_ref().map_or(0, |known| known.depth),
    };
    let (parent, depth) = match naming::parent(owner, tag, new, parent) {
        Ok(parent) => parent,
        Err(why) => return refuse(session, why).await,
    };
    let by = text(&new.created_by);
    let workflow = match &known {
        Some(known) => {
            let sql =
                "UPDATE workflow SET last_seq = last_seq + 1 WHERE id = $1 RETURNING id, last_seq";
            Call::new(sql).with(known.workflow)
        }
        None => {
            let sql = "INSERT INTO workflow (owner, tag, last_seq, created_by, created_at)
                VALUES ($1, $2, 1, $3, $4) RETURNING id, last_seq";
            let call = Call::new(sql).with(text(owner)).with(text(tag));
            call.with(by.clone()).with(int(now))
        }
    };
    let row = session.first(workflow).await?;
    let row = row.ok_or_else(|| Error::Damaged(format!("{tag:?} names no workflow")))?;
    let (workflow, seq): (i64, u64) = (column(&row, 0)?, number(&row, 1)?);
    let (content, whole) = (content_id(&new.content), content_id(&new.workflow));
    let artifact = Artifact {
        artifact_id: ids::new_id(),
        kind: new.kind.clone(),
        cas_id: content.clone(),
        created_by: new.created_by.clone(),
        created_at: now,
    };
    let mut calls = Vec::new();
    let contents = [(&*content, &*new.content), (&*whole, &*new.workflow)];
    blobs::put(&mut calls, HashMap::from(contents));
    let sql = "INSERT INTO version (workflow, seq, artifact_id, kind, content, whole, parent, depth, op_count,
            description, created_by, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let call = Call::new(sql)
        .with(workflow)
        .with(int(seq))
        .with(artifact.artifact_id.clone());
    let call = call
        .with(text(&new.kind))
        .with(&content)
        .with(&whole)
        .with(parent.map(int));
    let call = call
        .with(depth.cast_signed())
        .with(new.op_count.cast_signed());
    calls.push(
        call.with(text(&new.description))
            .with(by.clone())
            .with(int(now)),
    );
    if known.is_none() {
        let sql =
            "INSERT INTO tag (tag, owner, workflow, seq, version, moved_at, created_by, moved_by)
            VALUES ($1, $2, $3, 0, 0, 0, $4, $4)";
        let call = Call::new(sql).with(text(tag)).with(text(owner));
        calls.push(call.with(workflow).with(by.clone()));
    }
    calls.extend(set(owner, tag, seq, &new.created_by, "set"));
    calls.push(Call::plain("COMMIT"));
    session.run(&calls).await?;
    Ok(Version {
        seq,
        artifact,
        content: new.content.clone(),
        depth,
        op_count: new.op_count,
        description: new.description.clone(),
        workflow: new.workflow.clone(),
    })
}

/// Lets a tag name a version, and notes the move.
fn set<'a>(
    owner: &'a str,
    tag: &'a str,
    seq: u64,
    by: &'a str,
    why: &'static str,
) -> [Call<'a>; 2] {
    let now = int(clock::now());
    let note = "INSERT INTO tag_move (workflow, version, from_seq, to_seq, moved_by, moved_at, why)
        SELECT workflow, version + 1, nullif(seq, 0), $3, $4, $5, $6 FROM tag WHERE owner = $1 AND tag = $2";
    let note = Call::new(note)
        .with(text(owner))
        .with(text(tag))
        .with(int(seq));
    let note = note.with(text(by)).with(now).with(why);
    let step = "UPDATE tag SET seq = $3, version = version + 1, moved_at = $5, moved_by = $4
        WHERE owner = $1 AND tag = $2";
    let step = Call::new(step)
        .with(text(owner))
        .with(text(tag))
        .with(int(seq));
    [note, step.with(text(by)).with(now)]
}

/// A version with those that it is built on, base first.
pub(super) async fn versions(
    session: &mut Lent,
    owner: &str,
    tag: &str,
    seq: Option<u64>,
) -> Result<(Tag, Vec<Version>), Error> {
    let found = found(session, owner, tag).await?;
    let sql = "WITH RECURSIVE built AS (
            SELECT * FROM version WHERE workflow = $1 AND seq = $2
            UNION ALL
            SELECT v.* FROM built b JOIN version v ON v.workflow = $1 AND v.seq = b.parent)
        SELECT seq, artifact_id, kind, content, created_by, created_at, depth, op_count, description, whole
        FROM built ORDER BY seq";
    let wanted = seq.unwrap_or(found.tag.seq);
    let rows = session
        .rows(Call::new(sql).with(found.workflow).with(int(wanted)))
        .await?;
    if rows.is_empty() {
        return Err(naming::unknown_version(tag, wanted));
    }
    let mut names = Vec::new();
    let mut versions = Vec::with_capacity(rows.len());
    for row in &rows {
        let artifact = read_artifact(row, 1)?;
        names.extend([artifact.cas_id.clone(), column(row, 9)?]);
        versions.push(Version {
            seq: number(row, 0)?,
            artifact,
            content: Vec::new(),
            depth: column::<i32>(row, 6)?.cast_unsigned(),
            op_count: column::<i32>(row, 7)?.cast_unsigned(),
            description: column(row, 8)?,
            workflow: Vec::new(),
        });
    }
    let mut contents = blobs::get(session, &names).await?.into_iter();
    for version in &mut versions {
        version.content = contents.next().unwrap_or_default();
        version.workflow = contents.next().unwrap_or_default();
    }
    Ok((found.tag, versions))
}

/// Tags by name.
pub(super) async fn list(
    session: &mut Lent,
    scope: &Scope,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<Tag>, Error> {
    let owners = match scope {
        Scope::User(owner) => vec![owner.as_str()],
        Scope::Global => vec![GLOBAL],
        Scope::All(owner) => vec![owner.as_str(), GLOBAL],
    };
    let owners: Vec<_> = owners.into_iter().map(text).collect();
    let (tag, owner) = cursor.map(naming::position).unwrap_or_default();
    let sql = format!(
        "SELECT {TAG} FROM {FROM} WHERE t.owner = ANY($1) AND (t.tag, t.owner) > ($2, $3)
         ORDER BY t.tag, t.owner LIMIT $4"
    );
    let call = Call::new(sql)
        .with(owners)
        .with(text(&tag))
        .with(text(&owner));
    let rows = session.rows(call.with(count(limit))).await?;
    rows.iter().map(|row| Ok(read_tag(row)?.tag)).collect()
}

/// Removes a tag.
pub(super) async fn delete(session: &mut Lent, owner: &str, tag: &str) -> Result<(), Error> {
    let sql = "DELETE FROM tag WHERE owner = $1 AND tag = $2 RETURNING 1";
    let gone = session
        .first(Call::new(sql).with(text(owner)).with(text(tag)))
        .await?;
    match gone {
        Some(_) => Ok(()),
        None => Err(naming::unknown_tag(owner, tag)),
    }
}

/// Lets a tag name another version.
pub(super) async fn move_to(
    session: &mut Lent,
    owner: &str,
    tag: &str,
    to: TagTarget,
    by: &str,
) -> Result<Tag, Error> {
    let Some(known) = lock(session, owner, tag).await? else {
        return Ok(refuse(session, naming::unknown_tag(owner, tag)).await?);
    };
    let target = match to {
        TagTarget::Version(seq) => {
            let sql = "SELECT 1 FROM version WHERE workflow = $1 AND seq = $2";
            let call = Call::new(sql).with(known.workflow).with(int(seq));
            let known = session.first(call).await?;
            known
                .map(|_| (seq, "set"))
                .ok_or_else(|| naming::unknown_version(tag, seq))
        }
        TagTarget::Undo | TagTarget::Redo => {
            let moves = read_moves(session, known.workflow, "", i64::MAX).await?;
            naming::target(&TagHistory::of(&moves), to, tag)
        }
    };
    let (seq, why) = match target {
        Ok(target) => target,
        Err(error) => return Ok(refuse(session, error).await?),
    };
    let mut calls: Vec<_> = set(owner, tag, seq, by, why).into();
    calls.push(Call::plain("COMMIT"));
    session.run(&calls).await?;
    get(session, owner, tag).await
}

async fn read_moves(
    session: &mut Lent,
    workflow: i64,
    order: &'static str,
    limit: i64,
) -> Result<Vec<TagMove>, Error> {
    let sql = format!(
        "SELECT version, from_seq, to_seq, moved_by, moved_at, why FROM tag_move WHERE workflow = $1
         ORDER BY version {order} LIMIT $2"
    );
    let rows = session
        .rows(Call::new(sql).with(workflow).with(limit))
        .await?;
    let moves = rows.iter().map(|row| {
        Ok(TagMove {
            version: number(row, 0)?,
            from: maybe_number(row, 1)?,
            to: number(row, 2)?,
            moved_by: column(row, 3)?,
            moved_at: number(row, 4)?,
            why: column(row, 5)?,
        })
    });
    moves.collect()
}

/// The moves of a tag, latest first.
pub(super) async fn moves(
    session: &mut Lent,
    owner: &str,
    tag: &str,
    limit: usize,
) -> Result<Vec<TagMove>, Error> {
    let found = found(session, owner, tag).await?;
    read_moves(session, found.workflow, "DESC", count(limit)).await
}

/// An artifact: a version's, or what a run was started with.
pub(super) async fn artifact(session: &mut Lent, id: &str) -> Result<Artifact, Error> {
    let sql = "SELECT artifact_id, kind, content, created_by, created_at FROM version WHERE artifact_id = $1
        UNION ALL
        SELECT run_id, 'run_snapshot', workflow, submitted_by, submitted_at FROM run WHERE run_id = $1";
    let row = session.first(Call::new(sql).with(text(id))).await?;
    row.map_or_else(
        || Err(naming::unknown_artifact(id)),
        |row| read_artifact(&row, 0),
    )
}
