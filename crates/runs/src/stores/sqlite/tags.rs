//! Workflows: versions, and tags that name them.

use rusqlite::{Connection, Row, params, params_from_iter, types::Value};

use super::{
    blobs,
    database::{Values, count, execute, first, int, maybe_int, maybe_number, number, rows},
};
use crate::{
    Artifact, Error, NewVersion, Scope, Tag, TagMove, TagTarget, Version, clock, content_id, ids,
    stores::naming::{self, GLOBAL, Parent},
    tag_history::TagHistory,
};

const TAG: &str =
    "t.tag, t.owner, v.artifact_id, v.kind, v.content, v.created_by, v.created_at, t.seq,
    t.version, t.moved_at, t.created_by, t.moved_by, t.workflow";
const FROM: &str = "tag t CROSS JOIN version v ON v.workflow = t.workflow AND v.seq = t.seq";

fn read_tag(row: &Row<'_>) -> Result<(Tag, i64), Error> {
    let tag = Tag {
        tag: row.get(0)?,
        owner: row.get(1)?,
        target: read_artifact(row, 2)?,
        seq: number(row, 7)?,
        version: number(row, 8)?,
        moved_at: number(row, 9)?,
        created_by: row.get(10)?,
        moved_by: row.get(11)?,
    };
    Ok((tag, row.get(12)?))
}

fn read_artifact(row: &Row<'_>, from: usize) -> Result<Artifact, Error> {
    Ok(Artifact {
        artifact_id: row.get(from)?,
        kind: row.get(from + 1)?,
        cas_id: row.get(from + 2)?,
        created_by: row.get(from + 3)?,
        created_at: number(row, from + 4)?,
    })
}

/// Reads something, for a check.
pub(super) fn count_all(db: &Connection) -> Result<(), Error> {
    first(db, "SELECT shard FROM shard LIMIT 1", (), |_| Ok(()))?;
    Ok(())
}

fn find(db: &Connection, owner: &str, tag: &str) -> Result<Option<(Tag, i64)>, Error> {
    let sql = format!("SELECT {TAG} FROM {FROM} WHERE t.owner = ?1 AND t.tag = ?2");
    first(db, &sql, [owner, tag], read_tag)
}

/// What a tag names, and the workflow behind it.
pub(super) fn get(db: &Connection, owner: &str, tag: &str) -> Result<(Tag, i64), Error> {
    find(db, owner, tag)?.ok_or_else(|| naming::unknown_tag(owner, tag))
}

/// Stores a version, and moves the tag to it.
pub(super) fn put_version(
    db: &Connection,
    owner: &str,
    tag: &str,
    new: &NewVersion,
) -> Result<Version, Error> {
    let now = clock::now();
    let known = find(db, owner, tag)?;
    let depth = known
        .as_ref()
        .map(|(known, workflow)| depth(db, *workflow, known.seq));
    let parent = Parent {
        seq: known.as_ref().map(|(known, _)| known.seq),
        depth: depth.transpose()?.unwrap_or(0),
    };
    let (parent, depth) = naming::parent(owner, tag, new, parent)?;
    let workflow = match &known {
        Some((_, workflow)) => *workflow,
        None => {
            let sql = "INSERT INTO workflow (owner, tag, last_seq, created_by, created_at)
                       VALUES (?1, ?2, 0, ?3, ?4)";
            execute(db, sql, params![owner, tag, new.created_by, int(now)])?;
            db.last_insert_rowid()
        }
    };
    let sql = "UPDATE workflow SET last_seq = last_seq + 1 WHERE id = ?1 RETURNING last_seq";
    let seq = first(db, sql, [workflow], |row| number(row, 0))?.unwrap_or(1);
    let (content, whole) = (content_id(&new.content), content_id(&new.workflow));
    blobs::put(db, &content, &new.content)?;
    blobs::put(db, &whole, &new.workflow)?;
    let artifact = Artifact {
        artifact_id: ids::new_id(),
        kind: new.kind.clone(),
        cas_id: content,
        created_by: new.created_by.clone(),
        created_at: now,
    };
    execute(
        db,
        "INSERT INTO version (workflow, seq, artifact_id, kind, content, whole, parent, depth, op_count,
             description, created_by, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            workflow,
            int(seq),
            artifact.artifact_id,
            artifact.kind,
            artifact.cas_id,
            whole,
            maybe_int(parent),
            depth,
            new.op_count,
            new.description,
            new.created_by,
            int(now),
        ],
    )?;
    if known.is_none() {
        let sql =
            "INSERT INTO tag (tag, owner, workflow, seq, version, moved_at, created_by, moved_by)
                   VALUES (?1, ?2, ?3, 0, 0, 0, ?4, ?4)";
        execute(db, sql, params![tag, owner, workflow, new.created_by])?;
    }
    set(db, (owner, tag, workflow), seq, &new.created_by, "set")?;
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

fn depth(db: &Connection, workflow: i64, seq: u64) -> Result<u32, Error> {
    let sql = "SELECT depth FROM version WHERE workflow = ?1 AND seq = ?2";
    let depth = first(db, sql, params![workflow, int(seq)], |row| Ok(row.get(0)?))?;
    Ok(depth.unwrap_or(0))
}

/// Lets a tag name a version, and notes the move.
fn set(
    db: &Connection,
    (owner, tag, workflow): (&str, &str, i64),
    seq: u64,
    by: &str,
    why: &str,
) -> Result<(), Error> {
    let now = int(clock::now());
    let sql = "INSERT INTO tag_move (workflow, version, from_seq, to_seq, moved_by, moved_at, why)
               SELECT workflow, version + 1, nullif(seq, 0), ?3, ?4, ?5, ?6 FROM tag WHERE owner = ?1 AND tag = ?2";
    execute(db, sql, params![owner, tag, int(seq), by, now, why])?;
    let sql = "UPDATE tag SET seq = ?3, version = version + 1, moved_at = ?4, moved_by = ?5
               WHERE owner = ?1 AND tag = ?2 AND workflow = ?6";
    execute(db, sql, params![owner, tag, int(seq), now, by, workflow])?;
    Ok(())
}

/// A version with those that it is built on, base first.
pub(super) fn versions(
    db: &Connection,
    owner: &str,
    tag: &str,
    seq: Option<u64>,
) -> Result<(Tag, Vec<Version>), Error> {
    let (found, workflow) = get(db, owner, tag)?;
    let sql = "WITH RECURSIVE built (seq, parent) AS (
                   SELECT seq, parent FROM version WHERE workflow = ?1 AND seq = ?2
                   UNION ALL
                   SELECT v.seq, v.parent FROM version v JOIN built b ON v.workflow = ?1 AND v.seq = b.parent)
               SELECT v.seq, v.artifact_id, v.kind, v.content, v.created_by, v.created_at, v.depth, v.op_count,
                   v.description, v.whole
               FROM built b JOIN version v ON v.workflow = ?1 AND v.seq = b.seq ORDER BY v.seq";
    let wanted = seq.unwrap_or(found.seq);
    let read = |row: &Row<'_>| {
        let version = Version {
            seq: number(row, 0)?,
            artifact: read_artifact(row, 1)?,
            content: Vec::new(),
            depth: row.get(6)?,
            op_count: row.get(7)?,
            description: row.get(8)?,
            workflow: Vec::new(),
        };
        Ok((version, row.get::<_, String>(9)?))
    };
    let versions = rows(db, sql, params![workflow, int(wanted)], read)?;
    if versions.is_empty() {
        return Err(naming::unknown_version(tag, wanted));
    }
    let filled = versions.into_iter().map(|(mut version, whole)| {
        version.content = blobs::get(db, &version.artifact.cas_id)?;
        version.workflow = blobs::get(db, &whole)?;
        Ok(version)
    });
    Ok((found, filled.collect::<Result<_, Error>>()?))
}

/// Tags by name.
pub(super) fn list(
    db: &Connection,
    scope: &Scope,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<Tag>, Error> {
    let owners = match scope {
        Scope::User(owner) => vec![owner.as_str()],
        Scope::Global => vec![GLOBAL],
        Scope::All(owner) => vec![owner.as_str(), GLOBAL],
    };
    let mut values: Values = owners
        .iter()
        .map(|owner| Value::from((*owner).to_owned()))
        .collect();
    let places: Vec<String> = (1..=values.len()).map(|at| format!("?{at}")).collect();
    let mut conditions = format!("t.owner IN ({})", places.join(", "));
    if let Some((tag, owner)) = cursor.map(naming::position) {
        values.extend([Value::from(tag), Value::from(owner)]);
        let at = values.len();
        conditions.push_str(&format!(" AND (t.tag, t.owner) > (?{}, ?{at})", at - 1));
    }
    values.push(count(limit).into());
    let sql = format!(
        "SELECT {TAG} FROM {FROM} WHERE {conditions} ORDER BY t.tag, t.owner LIMIT ?{}",
        values.len()
    );
    rows(db, &sql, params_from_iter(values), |row| {
        Ok(read_tag(row)?.0)
    })
}

/// Removes a tag.
pub(super) fn delete(db: &Connection, owner: &str, tag: &str) -> Result<(), Error> {
    let sql = "DELETE FROM tag WHERE owner = ?1 AND tag = ?2";
    match execute(db, sql, [owner, tag])? {
        0 => Err(naming::unknown_tag(owner, tag)),
        _ => Ok(()),
    }
}

/// Lets a tag name another version.
pub(super) fn move_to(
    db: &Connection,
    owner: &str,
    tag: &str,
    to: TagTarget,
    by: &str,
) -> Result<Tag, Error> {
    let (_, workflow) = get(db, owner, tag)?;
    let (seq, why) = match to {
        TagTarget::Version(seq) => {
            let sql = "SELECT 1 FROM version WHERE workflow = ?1 AND seq = ?2";
            let known = first(db, sql, params![workflow, int(seq)], |_| Ok(()))?;
            known.ok_or_else(|| naming::unknown_version(tag, seq))?;
            (seq, "set")
        }
        TagTarget::Undo | TagTarget::Redo => {
            let history = TagHistory::of(&moves_of(db, workflow)?);
            naming::target(&history, to, tag)?
        }
    };
    set(db, (owner, tag, workflow), seq, by, why)?;
    Ok(get(db, owner, tag)?.0)
}

fn read_move(row: &Row<'_>) -> Result<TagMove, Error> {
    Ok(TagMove {
        version: number(row, 0)?,
        from: maybe_number(row, 1)?,
        to: number(row, 2)?,
        moved_by: row.get(3)?,
        moved_at: number(row, 4)?,
        why: row.get(5)?,
    })
}

fn moves_of(db: &Connection, workflow: i64) -> Result<Vec<TagMove>, Error> {
    let sql = "SELECT version, from_seq, to_seq, moved_by, moved_at, why FROM tag_move
               WHERE workflow = ?1 ORDER BY version";
    rows(db, sql, [workflow], read_move)
}

/// The moves of a tag, latest first.
pub(super) fn moves(
    db: &Connection,
    owner: &str,
    tag: &str,
    limit: usize,
) -> Result<Vec<TagMove>, Error> {
    let (_, workflow) = get(db, owner, tag)?;
    let sql = "SELECT version, from_seq, to_seq, moved_by, moved_at, why FROM tag_move
               WHERE workflow = ?1 ORDER BY version DESC LIMIT ?2";
    rows(db, sql, params![workflow, count(limit)], read_move)
}

/// An artifact: a version's, or what a run was started with.
pub(super) fn artifact(db: &Connection, id: &str) -> Result<Artifact, Error> {
    let sql = "SELECT artifact_id, kind, content, created_by, created_at FROM version WHERE artifact_id = ?1
               UNION ALL
               SELECT run_id, 'run_snapshot', workflow, submitted_by, submitted_at FROM run WHERE run_id = ?1";
    let found = first(db, sql, [id], |row| read_artifact(row, 0))?;
    found.ok_or_else(|| naming::unknown_artifact(id))
}
